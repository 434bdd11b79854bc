"""A checksum over a whole checkpoint, inside the file, so that no flipped bit goes unnoticed.

``torch.save`` writes a zip archive, which may end with a comment. The comment written here is the SHA-256 of everything
before it. ``torch.load`` and zip programs read such a file like any other, and a copy of the file takes the checksum
with it. The CRC-32 of each tensor, which torch writes but does not compare, would leave out the archive's headers.
"""

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import torch

from querydet.checkpoint.limits import TooLarge, check_limit
from querydet.checkpoint.regular import not_a_file

MARK = b"querydet-sha256:"
LENGTH = len(MARK) + 2 * hashlib.sha256().digest_size  # of the comment, in bytes
_NO_COMMENT = b"\0\0"  # its length is what an archive ends with
_CHUNK = 1 << 20
# What `zipfile` raises for an archive in which any byte may be wrong.
_ZIP_ERRORS = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)


def save_sealed(data: Mapping[str, Any], file: BinaryIO) -> None:
    """Write a checkpoint with its checksum.

    Args:
        data: tensors and plain values.
        file: empty, open for reading and writing.

    Raises:
        OSError: the disk is full, which torch hides behind an error about a position in the file.
    """
    try:
        torch.save(data, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    seal(file)


def seal(file: BinaryIO) -> None:
    """Append the checksum to a complete archive.

    Args:
        file: open for reading and writing, without a comment so far.
    """
    file.seek(-len(_NO_COMMENT), os.SEEK_END)
    file.write(LENGTH.to_bytes(len(_NO_COMMENT), "little"))
    file.write(MARK + _digest(file, file.tell()))


class _Bounded(io.FileIO):
    """A file of which nothing large is read at once: no list of very many members."""

    def read(self, size: int | None = -1) -> bytes:
        rest = max(os.path.getsize(self.fileno()) - self.tell(), 0)
        check_limit(rest if size is None or size < 0 else size, "bytes", "MAX_DIRECTORY")
        return super().read(size) or b""


def damage(path: str, *, bounded: bool = True) -> str | None:
    """Read a whole checkpoint file and describe its damage; None for a sound one.

    A file without the checksum of `seal`, which other programs and earlier versions wrote, is checked by the CRC-32 of
    its parts.

    Args:
        path: of the file.
        bounded: describe also what ``torch.save`` never writes and takes long to read: compressed or very many members.
    """
    problem = not_a_file(path)
    if problem is not None:
        return f"it {problem}"
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - LENGTH, 0))
            end = file.read()
            if end.startswith(MARK):
                wrong = _digest(file, size - LENGTH) != end[len(MARK) :]
                return "its content does not have the checksum that it was saved with" if wrong else None
        with _Bounded(path) if bounded else open(path, "rb") as raw, zipfile.ZipFile(raw) as archive:
            if not end.endswith(_NO_COMMENT):
                return "its checksum is damaged or missing"
            if bounded:
                _check_members(archive.infolist(), size)
            broken = archive.testzip()
    except (*_ZIP_ERRORS, TooLarge) as error:
        return str(error) or type(error).__name__
    return f"wrong checksum of {broken}" if broken else None


def _check_members(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    check_limit(len(members), "members of the archive", "MAX_MEMBERS")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise zipfile.BadZipFile("its members are compressed, which torch.save never does")
    if sum(member.file_size for member in members) > size:
        raise zipfile.BadZipFile("its members overlap")


def _digest(file: BinaryIO, size: int) -> bytes:
    """Return the SHA-256, in hexadecimal, of the first bytes, and leave the file at their end."""
    digest = hashlib.sha256()
    file.seek(0)
    while size and (chunk := file.read(min(size, _CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()
