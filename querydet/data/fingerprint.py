"""Says which data a run has read, so that another machine's copy can be compared with it."""

import hashlib
import os
from typing import Any

from detectron2.data import MetadataCatalog

MAX_FILES = 64  # image files that are hashed, evenly spread: enough to notice another release, or another compression


def fingerprint(dataset: Any) -> dict[str, Any]:
    """Describes a data set by its content.

    Args:
        dataset: of a loader: sized, with the ``name`` of the data set in Detectron2's catalog, and, for the images,
            a method ``record(index)`` that gives Detectron2's dict of one.

    Returns:
        ``name`` and ``images`` (their number); for data sets of a json also ``annotations`` (its path) and
        ``annotations_sha256``; where images are files, ``hashed_files`` and ``files_sha256`` of that many of them.
    """
    found: dict[str, Any] = {"name": getattr(dataset, "name", ""), "images": len(dataset)}
    path = MetadataCatalog.get(found["name"]).get("json_file") if found["name"] else None
    if path and os.path.isfile(path):
        found["annotations"] = os.path.abspath(path)
        with open(path, "rb") as file:
            found["annotations_sha256"] = _digest(file)
    if hasattr(dataset, "record"):
        found |= _files(dataset)
    return found


def _files(dataset: Any) -> dict[str, Any]:
    count = min(MAX_FILES, len(dataset))
    digest = hashlib.sha256()
    for number in range(count):
        name = str(dataset.record(number * len(dataset) // count).get("file_name", ""))
        digest.update(os.path.basename(name).encode())
        if os.path.isfile(name):
            with open(name, "rb") as file:
                digest.update(_digest(file).encode())
    return {"hashed_files": count, "files_sha256": digest.hexdigest()}


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: file.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()
