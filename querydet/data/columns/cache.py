"""The columns of large json files, kept between runs: where they lie, whether they are right, and who builds them.

They lie in a folder beside the json, or under QUERYDET_CACHE if that is set, or, where neither can be written, under
the user's cache folder. A file that has not changed is recognised by its size and times; one whose times differ, by the
digest of its bytes. One process builds and the others wait for it; a build that was killed leaves nothing that is read.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator

import portalocker

from querydet.data.coco_records import Loaded, ReadingRules, file_stamp
from querydet.data.columns.build import (
    Description,
    as_plain,
    build,
    read_description,
    write_description,
)
from querydet.data.columns.files import ColumnsError
from querydet.data.json_file import open_json
from querydet.utils.digest import hash_file

logger = logging.getLogger(__name__)

LEAST_BYTES = 64 << 20  # of a json that is kept as columns; smaller ones are read in less time than it takes to look
VARIABLE = "QUERYDET_CACHE"
BESIDE = ".querydet_cache"  # folder beside a json
BUILDING = ".building-"  # part of the names of folders that are being built; never read


def read_columns(annotations: str, images: str, rules: ReadingRules) -> Loaded:
    """Open the columns of a json, building them if there are none that are right.

    Args:
        annotations: path of the json.
        images: folder of the image files.
        rules: how the json is read.

    Raises:
        FileNotFoundError: the json does not exist.
        ValueError: the json cannot be used, or changed while it was read.
        OSError: no folder for the columns can be written, or the disk is full.
    """
    open_json(annotations).close()
    places = _places(annotations, rules)
    for folder in places:
        if (loaded := _open(folder, annotations, images, rules)) is not None:
            return loaded
    folder = _first_writable(places)
    with _locked(folder):
        loaded = _open(folder, annotations, images, rules)  # another process may have built it
        if loaded is None:
            _build(folder, annotations, images, rules)
            loaded = _open(folder, annotations, images, rules)
    if loaded is None:
        raise ValueError(f"{annotations} changed while it was read: start again when it is complete")
    return loaded


def _places(annotations: str, rules: ReadingRules) -> list[str]:
    """Return the folders in which the columns may lie, the preferred one first."""
    path = os.path.abspath(annotations)
    stem = os.path.splitext(os.path.basename(path))[0]
    options = json.dumps(as_plain(rules), sort_keys=True)
    beside = f"{stem}-{_short_digest(options)}"
    elsewhere = f"{stem}-{_short_digest(os.path.realpath(path) + options)}"
    if chosen := os.environ.get(VARIABLE):
        return [os.path.join(chosen, elsewhere)]
    user = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "querydet")
    return [os.path.join(os.path.dirname(path), BESIDE, beside), os.path.join(user, elsewhere)]


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]


def _open(folder: str, annotations: str, images: str, rules: ReadingRules) -> Loaded | None:
    """Open columns; None where there are none that are right, with the reason in the log."""
    if not os.path.isdir(folder):
        return None
    try:
        description = read_description(folder)
        if description.rules != as_plain(rules):
            raise ColumnsError("they were built by other rules")
        loaded = description.load(folder, images)
        description = _recognise(description, folder, annotations)
    except ColumnsError as error:
        logger.warning("%s: the columns in %s cannot be used and are built again: %s", annotations, folder, error)
        return None
    return loaded


def _recognise(description: Description, folder: str, annotations: str) -> Description:
    """Check that columns are those of a file as it is now.

    Raises:
        ColumnsError: they are not.
    """
    stamp = list(file_stamp(annotations))
    if description.stamp == stamp:
        return description
    if description.stamp[:1] != stamp[:1] or hash_file(annotations) != description.sha256:
        raise ColumnsError("the file has changed since")
    if list(file_stamp(annotations)) != stamp:
        raise ValueError(f"{annotations} changed while it was read: start again when it is complete")
    description = dataclasses.replace(description, stamp=stamp)
    with contextlib.suppress(OSError):  # without it, the file is read again next time
        write_description(folder, description)
    return description


def _first_writable(places: list[str]) -> str:
    """Return the first folder whose parent can be written, which is made if need be."""
    reasons = []
    for folder in places:
        parent = os.path.dirname(folder)
        try:
            os.makedirs(parent, exist_ok=True)
            with tempfile.TemporaryFile(dir=parent):
                return folder
        except OSError as error:
            reasons.append(f"{parent} ({error.strerror or error})")
    raise OSError(
        f"the annotations are too large to be kept in memory, and their columns cannot be written: "
        f"{', '.join(reasons)}. Set {VARIABLE} to a folder that can be written"
    )


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold the lock of columns; the system releases that of a process that was killed."""
    path = folder + ".lock"
    with open(path, "w", encoding="utf-8") as file:
        try:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException:
            logger.info("waiting for another process that builds %s", folder)
            portalocker.lock(file, portalocker.LOCK_EX)
        yield


def _build(folder: str, annotations: str, images: str, rules: ReadingRules) -> None:
    """Build columns in a folder beside the final one, which they replace when they are complete."""
    parent, name = os.path.split(folder)
    for left in os.listdir(parent):  # of builds that were killed; nobody builds now, who would hold the lock
        if left.startswith(name + BUILDING):
            shutil.rmtree(os.path.join(parent, left), ignore_errors=True)
    logger.info("%s is large: its columns are built once, in %s", annotations, folder)
    temporary = tempfile.mkdtemp(prefix=name + BUILDING, dir=parent)
    try:
        build(annotations, images, rules, temporary)
        if os.path.isdir(folder):
            os.rename(folder, tempfile.mkdtemp(prefix=name + BUILDING, dir=parent))
        os.rename(temporary, folder)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the columns of {annotations} cannot be written to {parent}: {error.strerror or error}. They take about a "
            f"quarter of the json's size, and twice that while they are built: free some space, or set {VARIABLE} to "
            "another folder",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
