"""The columns of large json files, kept between runs: where they lie, whether they are right, and who builds them.

They lie in a folder beside the json, or under QUERYDET_CACHE if that is set, or, where neither can be written, under
the user's cache folder. A file that has not changed is recognised by its size and times; one whose times differ, by the
digest of its bytes. One process builds and the others wait for it; a build that was killed leaves nothing that is read.
"""

import contextlib
import dataclasses
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
from querydet.utils.digest import hash_file, short_digest

logger = logging.getLogger(__name__)

LEAST_BYTES = 64 << 20  # of a json that is kept as columns; smaller ones are read in less time than it takes to look
VARIABLE = "QUERYDET_CACHE"
BESIDE = ".querydet_cache"  # folder beside a json
BUILDING = ".building-"  # part of the names of folders that are being built, or were replaced; never read
LOCK = ".lock"
DIGITS = 12  # of the digest in the names of folders
MOST_WAIT = 4 * 3600.0  # seconds for another process that builds; ours: a file of 25 million boxes takes minutes
POLL = 0.2  # seconds


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
        # another process may have built it; why there was none is said already
        loaded = _open(folder, annotations, images, rules, logging.DEBUG)
        if loaded is None:
            _build(folder, annotations, images, rules)
            loaded = _open(folder, annotations, images, rules)
    if loaded is None:
        raise ValueError(f"{annotations} changed while it was read: start again when it is complete")
    return loaded


def _places(annotations: str, rules: ReadingRules) -> list[str]:
    """Return the folders in which the columns may lie, the preferred one first."""
    path = os.path.abspath(annotations)
    name = os.path.basename(path)
    stem = os.path.splitext(name)[0]
    options = json.dumps(as_plain(rules), sort_keys=True)
    beside = f"{stem}-{short_digest(name + options, DIGITS)}"
    elsewhere = f"{stem}-{short_digest(os.path.realpath(path) + options, DIGITS)}"
    if chosen := os.environ.get(VARIABLE):
        return [os.path.join(os.path.abspath(os.path.expanduser(chosen)), elsewhere)]
    user = os.path.abspath(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return [os.path.join(os.path.dirname(path), BESIDE, beside), os.path.join(user, "querydet", elsewhere)]


def _open(
    folder: str, annotations: str, images: str, rules: ReadingRules, level: int = logging.WARNING
) -> Loaded | None:
    """Open columns; None where there are none that are right, with the reason in the log at a level."""
    if not os.path.isdir(folder):
        return None
    try:
        description = read_description(folder)
        if description.rules != as_plain(rules):
            raise ColumnsError("they were built by other rules")
        loaded = description.load(folder, images)
        description = _recognise(description, folder, annotations)
    except ColumnsError as error:
        logger.log(level, "%s: the columns in %s cannot be used: %s", annotations, folder, error)
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
    """Return the first folder that can be built: its parent, which is made if need be, and its lock can be written."""
    reasons = []
    for folder in places:
        parent = os.path.dirname(folder)
        try:
            os.makedirs(parent, exist_ok=True)
            with tempfile.TemporaryFile(dir=parent), open(folder + LOCK, "a"):
                return folder
        except OSError as error:
            reasons.append(f"{parent} ({error.strerror or error})")
    raise OSError(
        f"the annotations are to be kept as columns on the disk, which cannot be written: {', '.join(reasons)}. Set "
        f"{VARIABLE} to a folder that can be written, or dataset.cache=False to keep them in the memory of each process"
    )


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold the lock of columns; the system releases that of a process that was killed.

    Raises:
        TimeoutError: another process has held it for too long.
        OSError: the file system has no locks.
    """
    with contextlib.ExitStack() as stack:
        try:
            try:
                stack.enter_context(portalocker.Lock(folder + LOCK, "a", timeout=0))
            except portalocker.AlreadyLocked:
                logger.info("waiting for another process that builds %s", folder)
                stack.enter_context(portalocker.Lock(folder + LOCK, "a", timeout=MOST_WAIT, check_interval=POLL))
        except portalocker.AlreadyLocked as error:
            raise TimeoutError(
                f"another process has been building {folder} for {MOST_WAIT / 3600:g} hours: end it if it hangs"
            ) from error
        except portalocker.LockException as error:
            raise OSError(
                f"files of {os.path.dirname(folder)} cannot be locked ({error}), so that several processes would build "
                f"the columns at once: set {VARIABLE} to a folder on another disk"
            ) from error
        yield


def _build(folder: str, annotations: str, images: str, rules: ReadingRules) -> None:
    """Build columns in a folder beside the final one, which they replace when they are complete."""
    parent = os.path.dirname(folder)
    _remove_remains(folder)  # of builds that were killed; nobody builds now, who would hold the lock
    logger.info("the columns of %s are built once, in %s", annotations, folder)
    temporary, replaced = folder + BUILDING + "new", folder + BUILDING + "old"
    try:
        os.mkdir(temporary)  # by the user's rights for new folders, so that others can read it
        build(annotations, images, rules, temporary)
        if os.path.lexists(folder):
            os.rename(folder, replaced)
        os.rename(temporary, folder)
    except FileNotFoundError:
        raise  # of the json
    except OSError as error:
        raise OSError(
            error.errno,
            f"the columns of {annotations} cannot be written to {parent}: {error.strerror or error}. They take about a "
            f"third of the json's size, and up to three times that while they are built: free some space, or set "
            f"{VARIABLE} to another folder",
        ) from error
    finally:
        _remove_remains(folder)


def _remove_remains(folder: str) -> None:
    """Remove what was built, or replaced, beside columns; processes that have it open keep it until they end."""
    for path in (folder + BUILDING + "new", folder + BUILDING + "old"):
        shutil.rmtree(path, ignore_errors=True)
        if os.path.lexists(path):
            with contextlib.suppress(OSError):  # of a file; what is left stops the next build with a message
                os.remove(path)
