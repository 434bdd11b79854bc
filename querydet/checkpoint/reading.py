"""Checkpoint files of any kind, opened without running code that they hold.

``.pth`` and ``.pt`` go through torch's ``weights_only`` reader, with ``argparse.Namespace`` (official files have one)
and numpy's numbers allowed (:mod:`querydet.checkpoint.torch_files`); ``.safetensors`` holds no code; ``.pkl`` goes
through :mod:`querydet.checkpoint.unpickling`. The kind is read from the content, not from the name. What a file asks
for is bounded by :mod:`querydet.checkpoint.limits` before anything of it is built.
"""

import mmap
import os
import pickle
import re
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from querydet.checkpoint.limits import MAX_NAME, MAX_WEIGHTS, OPT_OUT, TooLarge, check_limit
from querydet.checkpoint.pickle_notes import Refused
from querydet.checkpoint.regular import not_a_file
from querydet.checkpoint.seal import damage
from querydet.checkpoint.torch_files import LEGACY, load_archive, load_legacy
from querydet.checkpoint.unpickling import load_arrays
from querydet.utils.texts import shown

ZIP = b"PK\x03\x04"
LONGEST_HEADER = 100_000_000  # of safetensors, by its specification
OTHER_KINDS = {
    b"<": "a web page: the address leads to a page about the file, or the download was refused",
    b"version https://git-lfs": "a Git LFS pointer: fetch the real file with git lfs pull",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"ustar": "a tar archive: unpack it first",
}


# Of the other types torch has none of the arithmetic that comparing and loading take.
_PLAIN = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool),
)


class _Damaged(Exception):
    """A file is not as it was saved."""


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
    problem = not_a_file(path)
    if problem is not None:
        raise FileNotFoundError(f"checkpoint {os.path.abspath(path)} {problem}")
    kind = file_kind(path)
    try:
        content = _READERS[kind](path, trust)
    except _Damaged as error:
        raise ValueError(f"checkpoint {path} is damaged: {error}. Use another one, or get it again") from error
    except TooLarge as error:
        raise ValueError(f"checkpoint {path} was refused: it holds {error}. Nothing was built; {OPT_OUT}") from error
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, error)) from error
    except (EOFError, struct.error) as error:
        raise ValueError(f"checkpoint {path} is truncated, get it again: {error}") from error
    except Exception as error:  # whatever the content of a stranger's file leads to
        raise ValueError(f"checkpoint {path} cannot be read: {str(error) or type(error).__name__}") from error
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
        if length < LONGEST_HEADER:
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


def _read_archive(path: str, trust: bool) -> Any:
    problem = damage(path, bounded=not trust)
    if problem is not None:
        raise _Damaged(problem)
    return torch.load(path, map_location="cpu", weights_only=False) if trust else load_archive(path)


def _read_legacy(path: str, trust: bool) -> Any:
    return torch.load(path, map_location="cpu", weights_only=False) if trust else load_legacy(path)


def _read_pickle(path: str, trust: bool) -> Any:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        data = pickle.loads(content, encoding="latin1") if trust else load_arrays(content)
    if isinstance(data, dict) and "model" not in data:  # of Caffe2 or Detectron, as Detectron2 reads them
        data = data.get("blobs", data)
        data = {name: value for name, value in data.items() if not str(name).endswith("_momentum")}
        return {"model": data, "__author__": "Caffe2", "matching_heuristics": True}
    return data


def _read_safetensors(path: str, trust: bool) -> dict[str, Any]:
    with open(path, "rb") as start:
        (length,) = struct.unpack("<Q", start.read(8))
    if not trust:
        check_limit(length, "bytes of a header", "MAX_HEADER")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            return {"model": tensors, "metadata": dict(file.metadata() or {})}
    except SafetensorError as error:
        raise EOFError(f"or damaged ({error})") from error


_READERS = {
    "torch": _read_archive,
    "legacy torch": _read_legacy,
    "pickle": _read_pickle,
    "safetensors": _read_safetensors,
}


def _refusal(path: str, error: Exception) -> str:
    text = str(error)
    name = re.search(r"GLOBAL ([\w.]+)", text)
    if not name and not isinstance(error, Refused) and "Unsupported" not in text:
        return f"checkpoint {path} cannot be read: {shown(text)}"
    what = shown(name[1] if name else text)
    code = re.fullmatch(r"\w+(\.\w+)+", what)
    why = "and opening that would run code of whoever made the file" if code else "which no weights need"
    return (
        f"checkpoint {path} was refused: besides tensors and plain values it holds {what}, {why}. Nothing was run. Ask "
        f"for a .safetensors file, or {OPT_OUT}"
    )


def as_tensors(state: Mapping[str, Any], path: str) -> dict[str, Tensor]:
    """Turn the numpy arrays of a state dict into tensors.

    Raises:
        ValueError: a value is neither, or no plain tensor of real numbers, integers or booleans in memory; a name is
            very long or does not print; there are very many.
    """
    if len(state) > MAX_WEIGHTS:
        raise ValueError(
            f"{path} was refused: it holds {len(state):,} weights, more than MAX_WEIGHTS of querydet.checkpoint.limits "
            f"allows ({MAX_WEIGHTS:,})"
        )
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if not isinstance(name, str) or len(name) > MAX_NAME or not name.isprintable():
            raise ValueError(f"the weights of {path} hold the name {shown(repr(name))}, which is no name of a weight")
        if isinstance(value, np.ndarray | np.generic):
            value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
        problem = _tensor_problem(value)
        if problem is not None:
            raise ValueError(f"the weights of {path} hold {name!r}: {problem} instead of a tensor of plain numbers")
        tensors[name] = value
    return tensors


def _tensor_problem(value: Any) -> str | None:
    """Say what a value is that cannot be a weight; None: it can."""
    if type(value) not in (Tensor, torch.nn.Parameter):
        return type(value).__name__
    if value.is_quantized or value.layout != torch.strided:
        return "quantised" if value.is_quantized else f"sparse ({value.layout})"
    if value.device.type == "meta":
        return "on the meta device, which has no values,"
    return None if value.dtype in _PLAIN else str(value.dtype)
