"""Columns of numbers on disk: written in pieces, and read or mapped into memory by every process that needs them.

A column is a file of plain little-endian numbers; what they are stands in the layout. Nothing is unpickled.
"""

import contextlib
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

Layout = dict[str, tuple[str, list[int]]]  # name -> type as numpy writes it, and shape
SUFFIX = ".column"
SAFE_TYPES = re.compile(r"\|u1|<[iuf][1248]")


class ColumnWriter:
    """Writes columns into a folder; a context, after which all of them are on the disk.

    Args:
        folder: of the files; it exists.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._layout: Layout = {}

    def __enter__(self) -> "ColumnWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with contextlib.ExitStack() as stack:  # closes all files, also when the disk is full
            for file in self._files.values():
                stack.callback(file.close)
            for file in self._files.values() if kind is None else ():
                file.flush()
                os.fsync(file.fileno())

    def append(self, name: str, values: np.ndarray) -> None:
        """Append to a column.

        Args:
            name: of the column.
            values: (n, ...) of the type and trailing shape of what was appended before.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        if name not in self._files:
            self._files[name] = open(column_path(self._folder, name), "wb")  # noqa: SIM115 - closed by the context
            self._layout[name] = (_type_of(values), [0, *values.shape[1:]])
        kind, shape = self._layout[name]
        assert (kind, shape[1:]) == (_type_of(values), list(values.shape[1:])), name
        self._files[name].write(np.ascontiguousarray(values).data)
        shape[0] += len(values)

    @property
    def layout(self) -> Layout:
        """Return types and shapes of what was written so far."""
        return {name: (kind, list(shape)) for name, (kind, shape) in self._layout.items()}


class ColumnsError(ValueError):
    """Columns that are not those of their layout."""


def column_path(folder: str, name: str) -> str:
    """Return the file of a column."""
    return os.path.join(folder, name + SUFFIX)


class StoredColumns(Mapping[str, np.ndarray]):
    """Columns on the disk. As values they are mapped into memory, read-only; `read` reads a few numbers.

    Args:
        columns: by name.
    """

    def __init__(self, columns: Mapping[str, "_StoredColumn"]) -> None:
        self._columns = columns

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name].mapped()

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Read some rows of a column, which maps nothing: each number that is mapped brings up to 2 MB with it.

        Raises:
            ColumnsError: the disk does not give them.
        """
        return self._columns[name].read(start, stop)

    def release(self) -> None:
        """Take what was mapped out of the memory of this process; the system keeps it for all."""
        for column in self._columns.values():
            column.release()


def open_columns(folder: str, layout: Mapping[str, tuple[str, list[int]]]) -> StoredColumns:
    """Open columns.

    Args:
        folder: of the files.
        layout: of the columns, from `ColumnWriter.layout`.

    Raises:
        ColumnsError: a file is missing, of another size or cannot be read, or a type is unknown.
    """
    return StoredColumns(
        {name: _StoredColumn(folder, name, kind, tuple(shape)) for name, (kind, shape) in layout.items()}
    )


class _StoredColumn:
    """A column on the disk."""

    def __init__(self, folder: str, name: str, kind: str, shape: tuple[int, ...]) -> None:
        if not SAFE_TYPES.fullmatch(kind) or os.path.basename(name) != name or min(shape, default=-1) < 0:
            raise ColumnsError(f"column {name!r} of type {kind!r} and shape {shape}")
        self._path, self._dtype, self._shape = column_path(folder, name), np.dtype(kind), shape
        self._bytes = int(np.prod(shape, dtype=object)) * self._dtype.itemsize
        self._row = int(np.prod(shape[1:], dtype=object)) * self._dtype.itemsize
        self._pages: mmap.mmap | None = None
        try:
            self._file = open(self._path, "rb", buffering=0)  # noqa: SIM115 - as long as the column is in use
            found = os.fstat(self._file.fileno()).st_size
        except FileNotFoundError:
            found = -1
        except OSError as error:
            raise ColumnsError(f"{self._path} cannot be read: {error}") from error
        if found != self._bytes:
            raise ColumnsError(f"{self._path} has {found} bytes instead of {self._bytes}")

    def mapped(self) -> np.ndarray:
        """Return the whole column."""
        if not self._bytes:
            return np.zeros(self._shape, self._dtype)  # an empty file cannot be mapped
        if self._pages is None:
            self._pages = mmap.mmap(self._file.fileno(), self._bytes, access=mmap.ACCESS_READ)
        return np.frombuffer(self._pages, self._dtype).reshape(self._shape)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return some rows."""
        expected = max(stop - start, 0) * self._row
        try:
            data = os.pread(self._file.fileno(), expected, start * self._row) if expected else b""
        except OSError as error:
            raise ColumnsError(f"{self._path} cannot be read: {error}") from error
        if len(data) != expected:
            raise ColumnsError(f"{self._path} was cut while it was in use")
        return np.frombuffer(data, self._dtype).reshape(-1, *self._shape[1:])

    def release(self) -> None:
        """Give back what was mapped."""
        if self._pages is not None:
            self._pages.madvise(mmap.MADV_DONTNEED)


def _type_of(values: np.ndarray) -> str:
    return str(values.dtype.str)
