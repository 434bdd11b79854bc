"""Columns of numbers on disk: written in pieces, mapped into memory by every process that reads them.

A column is a file of plain little-endian numbers; what they are stands in the layout. Nothing is unpickled.
"""

import contextlib
import mmap
import os
import re
from collections.abc import Iterator, Mapping, Sequence
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


class MappedColumns(Mapping[str, np.ndarray]):
    """Columns that are mapped into memory, read-only.

    Args:
        columns: by name.
        maps: of those that are not empty.
    """

    def __init__(self, columns: Mapping[str, np.ndarray], maps: Sequence[mmap.mmap]) -> None:
        self._columns, self._maps = columns, maps

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def release(self) -> None:
        """Take the pages that were read out of the memory of this process; the system keeps them for all."""
        for pages in self._maps:
            pages.madvise(mmap.MADV_DONTNEED)


def open_columns(folder: str, layout: Mapping[str, tuple[str, list[int]]]) -> MappedColumns:
    """Map columns into memory.

    Args:
        folder: of the files.
        layout: of the columns, from `ColumnWriter.layout`.

    Raises:
        ColumnsError: a file is missing, of another size or cannot be read, or a type is unknown.
    """
    maps: list[mmap.mmap] = []
    columns = {name: _open(folder, name, kind, tuple(shape), maps) for name, (kind, shape) in layout.items()}
    return MappedColumns(columns, maps)


def _open(folder: str, name: str, kind: str, shape: tuple[int, ...], maps: list[mmap.mmap]) -> np.ndarray:
    if not SAFE_TYPES.fullmatch(kind) or os.path.basename(name) != name or min(shape, default=-1) < 0:
        raise ColumnsError(f"column {name!r} of type {kind!r} and shape {shape}")
    path, dtype = column_path(folder, name), np.dtype(kind)
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    found = os.path.getsize(path) if os.path.isfile(path) else -1
    if found != expected:
        raise ColumnsError(f"{path} has {found} bytes instead of {expected}")
    if not expected:
        return np.zeros(shape, dtype)  # an empty file cannot be mapped
    try:
        with open(path, "rb") as file:
            maps.append(mmap.mmap(file.fileno(), expected, access=mmap.ACCESS_READ))
        return np.frombuffer(maps[-1], dtype).reshape(shape)
    except (OSError, ValueError) as error:  # it may have been replaced since its size was taken
        raise ColumnsError(f"{path} cannot be read: {error}") from error


def _type_of(values: np.ndarray) -> str:
    return str(values.dtype.str)
