"""The compiled extension ``querydet._C``: whether it is there, and what is said where it is not used.

Importing ``querydet._C`` fills ``torch.ops.querydet.*`` with native kernels. Every operator also has a definition in
PyTorch's own operators, which runs on devices for which the extension has no kernel, and where it was not built. Set
``QUERYDET_NO_EXTENSION=1`` to leave the extension aside.
"""

import functools
import importlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

logger = logging.getLogger(__name__)


def _load_extension() -> str:
    """Imports ``querydet._C``, which registers the native operators.

    Returns:
        Why there is no extension, or an empty string if it was loaded.
    """
    if os.environ.get("QUERYDET_NO_EXTENSION", "0") not in ("", "0"):
        return "QUERYDET_NO_EXTENSION is set"
    try:
        importlib.import_module("querydet._C")
    except (ImportError, OSError, RuntimeError) as error:
        return f"querydet._C cannot be imported ({error})"
    return ""


MISSING_EXTENSION = _load_extension()


@functools.cache
def warn_once_fallback(device_type: str) -> None:
    """Warns, once for each device type, that deformable attention runs the slow definition, and what helps."""
    reason = MISSING_EXTENSION or f"querydet._C was built without kernels for {device_type}"
    remedy = "pip install --no-build-isolation -e ."
    if MISSING_EXTENSION.startswith("QUERYDET_NO_EXTENSION"):
        remedy = "unset QUERYDET_NO_EXTENSION"
    elif device_type == "cuda":
        remedy = "CUDA_HOME=<toolkit> FORCE_CUDA=1 " + remedy
    logger.warning(
        "Deformable attention on %s runs the slow PyTorch definition: %s. Remedy: %s", device_type, reason, remedy
    )


def define_operator(schema: str, definition: Callable[..., Any], fake: Callable[..., Any]) -> torch.library.Library:
    """Adds to an operator of the extension what Python knows of it; defines one that the extension lacks.

    Args:
        schema: the same words stand in ops/csrc/schema.cpp.
        definition: for every device without a kernel.
        fake: for tensors without numbers.

    Returns:
        What must be kept as long as the operator is to be there.
    """
    name = schema.partition("(")[0]
    library = torch.library.Library("querydet", "FRAGMENT")
    if MISSING_EXTENSION or not hasattr(torch.ops.querydet, name):  # or built before it
        library.define(schema)
    library.impl(name, definition, "CompositeExplicitAutograd")
    torch.library.register_fake(f"querydet::{name}", fake, lib=library)
    return library


def cpu_instruction_set() -> str | None:
    """Which of the CPU kernels this process runs: "baseline", "avx2" or "avx512"; None without the extension.

    The widest that the processor has; the environment variable ``QUERYDET_CPU`` limits it, read at the first call.
    """
    return None if MISSING_EXTENSION else torch.ops.querydet.cpu_instruction_set()


_fused = True


@contextmanager
def separate_operators() -> Iterator[None]:
    """Inside of this block, deformable attention computes locations and weights by PyTorch's operators first.

    In the whole process. Otherwise one operator goes from offsets and logits to the sum; the results are equal up to
    rounding. For counting what is computed, and for comparing.
    """
    global _fused
    before, _fused = _fused, False
    try:
        yield
    finally:
        _fused = before


def operators_are_fused() -> bool:
    """False inside of :func:`separate_operators`."""
    return _fused
