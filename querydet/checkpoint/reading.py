"""Checkpoint files of any kind, opened without running code that they hold.

``.pth`` and ``.pt`` go through torch's ``weights_only`` reader, with ``argparse.Namespace`` (official files have one)
and numpy's numbers allowed; ``.safetensors`` holds no code; ``.pkl`` goes through
:mod:`querydet.checkpoint.unpickling`. The kind is read from the content, not from the name.
"""

import argparse
import os
import pickle
import re
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from querydet.checkpoint.seal import damage
from querydet.checkpoint.unpickling import Refused, load_arrays

OPT_OUT = "if the file is your own and you trust it: querydet convert OLD NEW --trust"
ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch files before 1.6
MAX_HEADER = 100_000_000  # of safetensors, by its specification
OTHER_KINDS = {
    b"<": "a web page: the address leads to a page about the file, or the download was refused",
    b"version https://git-lfs": "a Git LFS pointer: fetch the real file with git lfs pull",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"ustar": "a tar archive: unpack it first",
}


def read_checkpoint(path: str, *, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint file.

    Args:
        path: of a local file.
        trust: run any code in the file, for old files of one's own.

    Returns:
        The file's dict; of safetensors ``{"model": tensors, "metadata": {...}}``; of Detectron's files without
        ``model`` what Detectron2 makes of them. Tensors are on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is empty, truncated, damaged, no checkpoint, or holds more than tensors and plain values.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"checkpoint {os.path.abspath(path)} does not exist")
    kind = file_kind(path)
    try:
        if kind == "safetensors":
            return _read_safetensors(path)
        content = _read_pickle(path, trust) if kind == "pickle" else _read_torch(path, kind, trust)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, error)) from error
    except (EOFError, struct.error) as error:
        raise ValueError(f"checkpoint {path} is truncated, get it again: {error}") from error
    except (RuntimeError, OSError, KeyError, IndexError, AttributeError, TypeError, UnicodeError) as error:
        raise ValueError(f"checkpoint {path} cannot be read: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"checkpoint {path} holds a {type(content).__name__} instead of a dict with weights")
    return dict(content)


def file_kind(path: str) -> str:
    """Return ``torch``, ``legacy torch``, ``safetensors`` or ``pickle``, by the first bytes of a file.

    Raises:
        ValueError: for anything else, naming what it is where that is known.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(1024)
    if not head:
        raise ValueError(f"checkpoint {path} is empty: get it again")
    if head.startswith(ZIP):
        return "torch"
    if head.startswith(LEGACY):
        return "legacy torch"
    if head[8:9] == b"{":
        (length,) = struct.unpack("<Q", head[:8])
        if length < MAX_HEADER:
            if length > size - 8:
                raise ValueError(f"checkpoint {path} is truncated ({size:,} bytes): get it again")
            return "safetensors"
    if head.startswith(b"\x80") or (path.endswith(".pkl") and head[:1] in b"(}])c"):
        return "pickle"
    found = next((text for mark, text in OTHER_KINDS.items() if head.lstrip().startswith(mark)), "of an unknown type")
    raise ValueError(
        f"checkpoint {path} cannot be read: it is {found}. Wanted is a .pth or .pt of torch, a .safetensors file, or a "
        ".pkl of Detectron2"
    )


def _read_torch(path: str, kind: str, trust: bool) -> Any:
    if kind == "torch":
        problem = damage(path)
        if problem is not None:
            raise ValueError(f"checkpoint {path} is damaged: {problem}. Use another one, or get it again")
    if trust:
        return torch.load(path, map_location="cpu", weights_only=False)
    with torch.serialization.safe_globals(_harmless()):
        return torch.load(path, map_location="cpu", weights_only=True)


def _harmless() -> list[Any]:
    """Return the classes that official files use besides tensors: options, and numpy's numbers."""
    numbers = [type(np.dtype(code)) for code in ("?", "i4", "i8", "f2", "f4", "f8")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [argparse.Namespace, np.dtype, *numbers, *((_number, name) for name in names)]


def _number(dtype: np.dtype, content: bytes = b"") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf" or not isinstance(content, bytes):
        raise pickle.UnpicklingError(f"a scalar of {dtype}")
    return np.frombuffer(content, dtype)[0].item()


def _read_pickle(path: str, trust: bool) -> Any:
    with open(path, "rb") as file:
        content = file.read()
    data = pickle.loads(content, encoding="latin1") if trust else load_arrays(content)
    if isinstance(data, dict) and "model" not in data:  # of Caffe2 or Detectron, as Detectron2 reads them
        data = data.get("blobs", data)
        data = {name: value for name, value in data.items() if not str(name).endswith("_momentum")}
        return {"model": data, "__author__": "Caffe2", "matching_heuristics": True}
    return data


def _read_safetensors(path: str) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            return {"model": tensors, "metadata": dict(file.metadata() or {})}
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is truncated or damaged, get it again: {error}") from error


def _refusal(path: str, error: Exception) -> str:
    text = str(error)
    name = re.search(r"GLOBAL ([\w.]+)", text)
    if not name and not isinstance(error, Refused) and "Unsupported" not in text:
        return f"checkpoint {path} cannot be read: {text}"
    what = name[1] if name else text.splitlines()[0]
    return (
        f"checkpoint {path} was refused: besides tensors and plain values it holds {what}, and opening that would run "
        f"code of whoever made the file. Nothing was run. Ask for a .safetensors file, or {OPT_OUT}"
    )


def as_tensors(state: Mapping[str, Any], path: str) -> dict[str, Tensor]:
    """Turn the numpy arrays of a state dict into tensors.

    Raises:
        ValueError: a value is neither.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray | np.generic):
            value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
        if not isinstance(value, Tensor) or not isinstance(name, str):
            raise ValueError(f"the weights of {path} hold {name!r}: {type(value).__name__} instead of a tensor")
        tensors[name] = value
    return tensors
