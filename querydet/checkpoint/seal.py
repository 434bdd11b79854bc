"""A checksum over a whole checkpoint, inside the file, so that no flipped bit goes unnoticed.

``torch.save`` writes a zip archive, which may end with a comment. The comment written here is the SHA-256 of everything
before it. ``torch.load`` and zip programs read such a file like any other, and a copy of the file takes the checksum
with it. The CRC-32 of each tensor, which torch writes but does not compare, would leave out the archive's headers.
"""

import hashlib
import os
import struct
import zipfile
from typing import BinaryIO

MARK = b"querydet-sha256:"
LENGTH = len(MARK) + 2 * hashlib.sha256().digest_size  # of the comment, in bytes
_ZIP = b"PK\x03\x04"
_NO_COMMENT = b"\0\0"  # its length is what an archive ends with
_CHUNK = 1 << 20
# What `zipfile` raises for an archive in which any byte may be wrong.
_ZIP_ERRORS = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)


def seal(file: BinaryIO) -> None:
    """Append the checksum to a complete archive.

    Args:
        file: open for reading and writing, without a comment so far.
    """
    file.seek(-len(_NO_COMMENT), os.SEEK_END)
    file.write(LENGTH.to_bytes(len(_NO_COMMENT), "little"))
    file.write(MARK + _digest(file, file.tell()))


def damage(path: str) -> str | None:
    """Read a whole checkpoint file and describe its damage; None for a sound one.

    A file without the checksum of `seal`, which other programs and earlier versions wrote, is checked by the CRC-32 of
    its parts.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - LENGTH, 0))
            end = file.read()
            if end.startswith(MARK):
                wrong = _digest(file, size - LENGTH) != end[len(MARK) :]
                return "its content does not have the checksum that it was saved with" if wrong else None
        with zipfile.ZipFile(path) as archive:
            if not end.endswith(_NO_COMMENT):
                return "its checksum is damaged or missing"
            broken = archive.testzip()
    except _ZIP_ERRORS as error:
        return str(error) or type(error).__name__
    return f"wrong checksum of {broken}" if broken else None


def is_archive(path: str) -> bool:
    """Return whether a file begins like one of ``torch.save``."""
    with open(path, "rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def _digest(file: BinaryIO, size: int) -> bytes:
    """Return the SHA-256, in hexadecimal, of the first bytes, and leave the file at their end."""
    digest = hashlib.sha256()
    file.seek(0)
    while size and (chunk := file.read(min(size, _CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()
