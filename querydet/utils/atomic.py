"""Files that are either the old one or the complete new one, whenever the process or the machine stops."""

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

TEMPORARY = ".tmp"  # suffix of a file that is being written; nothing ever reads one


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[BinaryIO]:
    """Opens a file to write, and read, that appears under its name, complete and on the disk, when the block ends.

    When the block fails, the old file stays and the temporary one is removed.

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
    """The new name is on the disk only when the folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
