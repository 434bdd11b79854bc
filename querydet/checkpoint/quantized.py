"""The mark of files of 8-bit detectors (`querydet.quantization`), which hold codes instead of weights."""

import os
import zipfile
from collections.abc import Mapping
from typing import Any

KEY = "quantization"  # in a file: what its codes were made with
_MARK = b"querydet_8_bit"  # in the pickle of such a file
_LONGEST = 2**26  # bytes of a pickle that is searched; tensors are stored beside it


def mark(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file holds under `KEY`."""
    return {**settings, "kind": _MARK.decode()}


def is_marked(content: Mapping[str, Any]) -> bool:
    """Return whether the content of a file is that of an 8-bit detector."""
    found = content.get(KEY)
    return isinstance(found, Mapping) and found.get("kind") == _MARK.decode()


def is_quantized(path: str | os.PathLike) -> bool:
    """Return whether a file seems to hold an 8-bit detector, without opening what it holds; False: no such file."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
            return any(entry.file_size < _LONGEST and _MARK in archive.read(entry) for entry in pickles)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError):
        return False


def refuse_quantized(content: Mapping[str, Any], path: str) -> None:
    """Refuse the content of such a file where weights are wanted.

    Raises:
        ValueError: it is one.
    """
    if is_marked(content):
        raise ValueError(
            f"{path} holds a detector in 8 bit, which only detects (querydet predict, querydet eval, Predictor): take "
            "the checkpoint that it was made from"
        )
