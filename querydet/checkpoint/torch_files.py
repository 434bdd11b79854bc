"""Files of ``torch.save``, of both formats, opened when it is known what opening them takes.

``torch.load`` runs no code of a file (``weights_only``), but it allocates what the file asks for, and a record may be
shorter than its tensor. `querydet.checkpoint.pickle_graph` reads the file's pickle before.
"""

import argparse
import contextlib
import io
import mmap
import os
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from querydet.checkpoint.limits import TooLarge, check_limit
from querydet.checkpoint.pickle_graph import read_graph
from querydet.checkpoint.pickle_notes import Budget, NoNames
from querydet.checkpoint.pickle_rules import SCALARS, TorchRules

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch files before 1.6
BEFORE = 3  # pickles of a legacy file before the one that counts: a magic number, a version, facts about the machine
PICKLE = "data.pkl"
DATA = "data/"


def load_archive(path: str, lazily: bool = False) -> Any:
    """Read a zip archive of ``torch.save``.

    Args:
        path: of the file.
        lazily: leave the tensors in the file until they are used.

    Raises:
        Refused, TooLarge: see `read_graph`.
        Exception: of torch, for a file that it cannot read.
    """
    _check_archive(path)
    with _harmless_only():
        if path.endswith(".safetensors"):  # torch goes by the name
            with open(path, "rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=lazily)


def load_legacy(path: str) -> Any:
    """Read a file of ``torch.save`` before torch 1.6.

    Raises:
        Exception: as `load_archive`.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for _ in range(BEFORE):
            read_graph(content, NoNames())
        read_graph(content, TorchRules(Budget(len(content))))
        read_graph(content, NoNames())  # the names of the storages that follow
        content.seek(0)
        with _harmless_only():  # of an open file torch would try whether it is a tar archive, which holds other pickles
            return torch.load(content, map_location="cpu", weights_only=True)  # type: ignore[arg-type]


def _check_archive(path: str) -> None:
    """Refuse an archive whose members are larger than the file, or not what its tensors need."""
    size = os.path.getsize(path)
    sizes, content = _read_members(path, size)
    rules = TorchRules(Budget(size), lambda key: sizes.get(DATA + key, -1))
    read_graph(io.BytesIO(content), rules)
    unused = sum(count for name, count in sizes.items() if name != PICKLE and name[len(DATA) :] not in rules.storages)
    check_limit(unused, "bytes that belong to no tensor", "MAX_UNUSED")


def _read_members(path: str, size: int) -> tuple[dict[str, int], bytes]:
    """Return the bytes of each member of an archive, and its pickle."""
    reader: Any = torch._C.PyTorchFileReader(path)  # the one that torch.load uses: another might see other members
    try:
        names = reader.get_all_records()
        check_limit(len(names), "members of the archive", "MAX_MEMBERS")
        sizes = {name: reader.get_record_size(name) for name in names}
        if len(sizes) < len(names):
            raise ValueError("two members of the archive have the same name")
        if sum(sizes.values()) > size:
            raise TooLarge(f"members of {sum(sizes.values()):,} bytes in a file of {size:,} bytes", "MAX_EXPANSION")
        if PICKLE not in sizes:
            raise ValueError(f"it is no archive of torch.save: it has no {PICKLE}")
        return sizes, reader.get_record(PICKLE)
    finally:
        del reader  # closes the file, which the traceback of an error would keep open


@contextlib.contextmanager
def _harmless_only() -> Iterator[None]:
    """Allow the classes that official files use besides tensors; afterwards exactly those of before are allowed."""
    before = torch.serialization.get_safe_globals()
    numbers = [type(np.dtype(code)) for code in ("?", "i4", "i8", "f2", "f4", "f8")]
    allowed: list[Any] = [argparse.Namespace, np.dtype, *numbers, *((_number, name) for name in SCALARS)]
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(allowed)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _number(dtype: np.dtype, content: bytes = b"") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf" or not isinstance(content, bytes):
        raise pickle.UnpicklingError(f"a scalar of {dtype}")
    return np.frombuffer(content, dtype)[0].item()
