"""glibc's allocator: memory that was freed stays with the process.

By default glibc takes every block above 32 MB from the operating system and gives it back when it is freed. The next
tensor of that size is then new memory, which the system clears page by page at the first touch: on a CPU that costs as
much as many of the operators themselves. A detector needs tensors of the same sizes at every step.
"""

import ctypes
import functools
import logging
import os

import torch

logger = logging.getLogger(__name__)

VARIABLE = "QUERYDET_MALLOC"  # environment variable: "system" leaves the allocator as it is
# malloc.h of glibc, mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = -1


class _SymbolInfo(ctypes.Structure):
    """`Dl_info` of dladdr(3)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def keep_freed_memory_on(device: torch.device | str) -> bool:
    """Call `keep_freed_memory` for a model that runs on the CPU; GPUs have an allocator of their own.

    Returns:
        Whether freed memory is kept.
    """
    return torch.device(device).type == "cpu" and keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let this process, and those that it forks, keep the memory that they free, for the next tensor.

    The setting holds for the whole process and cannot be taken back. The process stays as large as it once was. Nothing
    happens where another allocator than glibc's is in use, and with ``QUERYDET_MALLOC=system`` in the environment.

    Returns:
        Whether freed memory is kept.

    Raises:
        ValueError: the variable has another value.
    """
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "system"):
        raise ValueError(f"{VARIABLE}={value!r}: set it to 'system' to leave the allocator as it is, or unset it")
    return value != "system" and _keep()


@functools.cache
def _keep() -> bool:
    if not allocates_with_glibc():
        return False
    # No block is taken from the system by itself any more, and the end of the heap is not given back.
    mallopt = ctypes.CDLL(None).mallopt
    kept = bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
    logger.info("Freed memory stays with the process (%s=system in the environment: it does not)", VARIABLE)
    return kept


def allocates_with_glibc() -> bool:
    """Return whether `malloc` of this process is glibc's, not another system's, nor that of a preloaded jemalloc."""
    try:
        symbols = ctypes.CDLL(None)
        libc = _file_of(symbols.gnu_get_libc_version)
        return libc is not None and all(_file_of(each) == libc for each in (symbols.malloc, symbols.mallopt))
    except (AttributeError, OSError, TypeError):  # no such symbol; Windows has no handle of the process itself
        return False


def _file_of(function: "ctypes._NamedFuncPointer") -> bytes | None:
    """Return the path of the library that has a function."""
    info = _SymbolInfo()
    found = ctypes.CDLL(None).dladdr(ctypes.cast(function, ctypes.c_void_p), ctypes.byref(info))
    return bytes(info.file) if found and info.file else None
