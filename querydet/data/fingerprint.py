"""Fingerprint of the data that a run has read, to compare it when the run is resumed, or with a copy elsewhere."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog

from querydet.data.sources import json_files
from querydet.utils.digest import hash_file

MAX_FILES = 64  # evenly spread image files that are hashed: enough to notice another release or compression
# What is compared, by key, and its name in messages. The place of the data is no part of it.
CONTENT = {
    "images": "images",
    "objects": "annotations",
    "categories": "categories",
    "records_sha256": "digest of images, annotations and categories",
    "annotations_sha256": "digest of the annotation file",
    "files_sha256": "digest of image files",
}


def fingerprint(dataset: Any) -> dict[str, Any]:
    """Describe a data set by its content.

    Args:
        dataset: data set of a loader, with `len()` and the `name` of the data set in Detectron2's catalog; records and
            images are hashed if it has a method `record(index)` that returns the Detectron2 dict of an image. What is
            known already stands in an attribute `digests`, under keys of the result.

    Returns:
        `name` and `images` (their number); for data sets with a json also `annotations` (its path, or those of
        several) and `annotations_sha256`; with records `objects` and `categories` (their numbers), `records_sha256`
        (all records in their order, with the names of the categories) and, of image files, `hashed_files` (how many
        were hashed) and `files_sha256`.
    """
    result: dict[str, Any] = {"name": getattr(dataset, "name", ""), "images": len(dataset)}
    known = dict(getattr(dataset, "digests", {}))
    metadata = MetadataCatalog.get(result["name"]) if result["name"] else None
    paths = [os.path.abspath(path) for path in json_files(dataset) if os.path.isfile(path)]
    if paths:
        result["annotations"] = ", ".join(paths)
        result["annotations_sha256"] = known.get("annotations_sha256") or digest_of(map(hash_file, paths))
    if hasattr(dataset, "record"):
        names = list(metadata.get("thing_classes") or []) if metadata else []
        if "records_sha256" not in known:
            known |= record_digest(map(dataset.record, range(len(dataset))), names)
        result |= {"categories": len(names), **known, **_files(dataset)}
    return result


def digest_of(digests: Iterable[str]) -> str:
    """Return the digest of several digests; a single one as it is."""
    found = list(digests)
    return found[0] if len(found) == 1 else hashlib.sha256("\n".join(found).encode()).hexdigest()


def content(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a fingerprint that is compared, which does not say where the data are."""
    return {key: value for key, value in found.items() if key in CONTENT or key == "hashed_files"}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Compare two fingerprints of data that should be the same; lines `what: before -> now`.

    An annotation file may be written differently as long as the records are the same, and what only one of the
    fingerprints has, which another version made, is not compared.
    """
    ignored = {"annotations_sha256"} if "records_sha256" in before and "records_sha256" in now else set()
    if before.get("hashed_files") != now.get("hashed_files"):
        ignored |= {"files_sha256"}
    return [
        f"{name}: {_short(before[key])} -> {_short(now[key])}"
        for key, name in CONTENT.items()
        if key in before and key in now and key not in ignored and before[key] != now[key]
    ]


def _short(value: Any) -> str:
    return ascii(str(value)[:12])[1:-1]  # of a file, which may hold anything


def record_digest(
    records: Iterable[Mapping[str, Any]], categories: list[str], step: Callable[[], Any] = lambda: None
) -> dict[str, Any]:
    """Compute the digest of all records in their order, and of the names of the categories.

    Args:
        records: Detectron2's dicts.
        categories: names in the order of their indices.
        step: called after every record.

    Returns:
        `objects`, their number, and `records_sha256`.
    """
    digest = hashlib.sha256(json.dumps(categories).encode())
    names: list[str] = []
    objects = 0
    for record in records:
        rest = {key: _without_folder(value) for key, value in record.items() if key != "file_name"}
        names.append(str(record.get("file_name", "")))
        found = record.get("annotations")
        objects += len(found) if isinstance(found, list | tuple) else 0
        digest.update(_plain_bytes(rest))
        step()
    for name in _relative(names):
        digest.update(name.encode(errors="surrogatepass") + b"\0")
    return {"objects": objects, "records_sha256": digest.hexdigest()}


def _relative(names: list[str]) -> Iterator[str]:
    """Yield names relative to their common folder, so that the same data elsewhere has the same names."""
    folders = {os.path.dirname(name) for name in names}
    try:
        root = os.path.commonpath(folders)
    except ValueError:  # absolute and relative names, or none
        root = ""
    for name in names:
        yield name[len(root) :].lstrip(os.sep)


def _without_folder(value: Any) -> Any:
    return os.path.basename(value) if isinstance(value, str) else value


def _plain_bytes(record: dict[str, Any]) -> bytes:
    try:
        return json.dumps(record, default=_plain, skipkeys=True).encode()
    except (ValueError, RecursionError):  # a circle
        return b"?"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return value.tolist()
    if isinstance(value, bytes):
        return value.hex()
    return type(value).__qualname__  # its text may hold its place in memory, which is another one each time


def _files(dataset: Any) -> dict[str, Any]:
    count = min(MAX_FILES, len(dataset))
    digest = hashlib.sha256()
    for index in range(count):
        name = str(dataset.record(index * len(dataset) // count).get("file_name", ""))
        digest.update(os.path.basename(name).encode(errors="surrogatepass"))
        if os.path.isfile(name):
            try:
                digest.update(hash_file(name).encode())
            except OSError:  # the mapper decides what an unreadable image means
                digest.update(b"unreadable")
    return {"hashed_files": count, "files_sha256": digest.hexdigest()}
