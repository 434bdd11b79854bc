"""Atomic file writes: a crash leaves either the old file or the complete new one."""

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

TEMPORARY = ".tmp"  # suffix of a file that is being written; never read


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[BinaryIO]:
    """Open a file for writing and reading that replaces `path`, complete and synced to disk, when the block ends.

    When the block fails, the old file stays and the temporary one is removed.

    Args:
        path: of the file.

    Yields:
        The open binary file.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = path + TEMPORARY
    try:
        with open(temporary, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
    _sync_folder(os.path.dirname(os.path.abspath(path)))


def _sync_folder(folder: str) -> None:
    """Sync a folder: a new file name is on the disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
