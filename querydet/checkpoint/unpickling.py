"""Pickles of numpy arrays, opened without importing or calling anything that they name.

Detectron2's and Detectron's model zoos publish backbones as ``.pkl`` files. A pickle is a program: Detectron2 runs it.
Here the few names that such a file needs stand for functions of this module, which build plain numeric arrays and
nothing else; every other name ends the reading.
"""

import io
import math
import mmap
import pickle
from collections import OrderedDict
from typing import Any, Literal

import numpy as np

from querydet.checkpoint.pickle_graph import read_graph
from querydet.checkpoint.pickle_notes import Budget, Refused
from querydet.checkpoint.pickle_rules import LATIN1, MAX_DIMENSIONS, NUMPY, ArrayRules
from querydet.utils.texts import shown

KINDS = "biufc"  # booleans, integers, floats, complex numbers: what an array of a checkpoint may hold


class _Dtype:
    """Stands for ``numpy.dtype`` while a pickle is read."""

    def __init__(self, text: Any = "f4", *_: Any) -> None:
        self.text = text.decode("latin1") if isinstance(text, bytes) else text
        self.byte_order = "="

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.byte_order = order.decode("latin1") if isinstance(order, bytes) else order

    def real(self) -> np.dtype:
        """Return the numpy type.

        Raises:
            Refused: it is not numeric.
        """
        if len(str(self.text)) > len(">complex128"):
            raise Refused(f"an array of the unknown type {shown(str(self.text))}")
        try:
            found = np.dtype(str(self.text)).newbyteorder(self.byte_order)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise Refused(f"an array of the unknown type {shown(str(self.text))}") from error
        if found.kind not in KINDS or found.hasobject:
            raise Refused(f"an array of {found} instead of numbers")
        return found


class _Array:
    """Stands for ``numpy.ndarray`` while a pickle is read."""

    value: np.ndarray | None = None

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array in an unknown form")
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
    data = data.encode("latin1") if isinstance(data, str) else data
    sizes = isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS and all(type(size) is int for size in shape)
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray) or not sizes:
        raise Refused("an array in an unknown form")
    kind = dtype.real()
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(data):
        raise Refused(f"an array of shape {shape} with {len(data)} bytes")
    return np.frombuffer(data, kind).reshape(shape, order=order)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return _array(data, dtype, (), "C")[()]


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return _array(data, dtype, shape, "F" if order == "F" else "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in LATIN1:
        raise Refused(f"bytes in {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("__builtin__", "bytes"): _no_bytes,  # how protocols before 3 write b""
}
for _core in NUMPY:
    ALLOWED[_core + ".multiarray", "_reconstruct"] = _Array
    ALLOWED[_core + ".multiarray", "scalar"] = _scalar
    ALLOWED[_core + ".numeric", "_frombuffer"] = _frombuffer


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("a reference to something outside the file")


def load_arrays(content: bytes | mmap.mmap) -> Any:
    """Read a pickle of containers, plain values and numeric arrays.

    Args:
        content: of the file; pickles of Python 2 are read too.

    Raises:
        Refused: it names anything else; nothing was run.
        TooLarge: it describes more than `querydet.checkpoint.limits` allows; nothing was built.
        EOFError: it is cut off.
        Exception: what the unpickler raises for bytes that are no pickle.
    """
    stream: Any = io.BytesIO(content) if isinstance(content, bytes) else content
    read_graph(stream, ArrayRules([".".join(name) for name in ALLOWED], Budget(len(content))))
    stream.seek(0)
    return _replace(_ArrayUnpickler(stream, encoding="latin1").load())


def _replace(value: Any) -> Any:
    """Replace the stand-ins by arrays. The walk is short: `read_graph` has counted its steps, and bounds its depth."""
    if isinstance(value, _Array):
        if value.value is None:
            raise Refused("an array without content")
        return value.value
    if isinstance(value, _Dtype):
        return value.real()
    if isinstance(value, dict):
        return {_replace(key): _replace(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(_replace(item) for item in value)
    return value
