"""Fingerprint of the data that a run has read, to compare it with the copy on another machine."""

import hashlib
import os
from typing import Any

from detectron2.data import MetadataCatalog

MAX_FILES = 64  # evenly spread image files that are hashed: enough to notice another release or compression


def fingerprint(dataset: Any) -> dict[str, Any]:
    """Describe a data set by its content.

    Args:
        dataset: data set of a loader, with `len()` and the `name` of the data set in Detectron2's catalog; images are
            hashed if it has a method `record(index)` that returns the Detectron2 dict of an image.

    Returns:
        `name` and `images` (their number); for data sets with a json also `annotations` (its path) and
        `annotations_sha256`; if images are files, `hashed_files` (how many were hashed) and `files_sha256`.
    """
    result: dict[str, Any] = {"name": getattr(dataset, "name", ""), "images": len(dataset)}
    path = MetadataCatalog.get(result["name"]).get("json_file") if result["name"] else None
    if path and os.path.isfile(path):
        result["annotations"] = os.path.abspath(path)
        with open(path, "rb") as file:
            result["annotations_sha256"] = _digest(file)
    if hasattr(dataset, "record"):
        result |= _files(dataset)
    return result


def _files(dataset: Any) -> dict[str, Any]:
    count = min(MAX_FILES, len(dataset))
    digest = hashlib.sha256()
    for index in range(count):
        name = str(dataset.record(index * len(dataset) // count).get("file_name", ""))
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
