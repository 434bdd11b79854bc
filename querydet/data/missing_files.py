"""Image files that a data set names and the disk lacks.

A question to the disk for each of millions of files takes hours on network storage: where there are many, every folder
is listed once instead, and of its names only numbers are kept.
"""

import os
from collections.abc import Iterable, Sequence

import numpy as np

from querydet.data.record_columns import Records, chunks, column

FEW = 10_000  # images; up to so many, each file is looked for by itself
MOST_CONFIRMED = 1000  # files missing in a listing that are then looked for by themselves


class FolderListing:
    """The files of folders, each of which is listed when it is first asked for.

    A folder is kept as numbers of 64 bits for its names, an eighth of the memory.
    """

    def __init__(self) -> None:
        self._names: dict[str, np.ndarray] = {}

    def has(self, paths: Sequence[str]) -> np.ndarray:
        """Return which files exist, (n,) bool."""
        parts = [os.path.split(path) for path in paths]
        folders, number = np.unique(np.array([*(folder for folder, _ in parts), ""]), return_inverse=True)
        names = _numbers(name for _, name in parts)
        found = np.zeros(len(parts), bool)
        for index, folder in enumerate(folders.tolist()):
            chosen = number[:-1] == index
            if chosen.any():
                found[chosen] = np.isin(names[chosen], self._listed(folder))
        return found

    def _listed(self, folder: str) -> np.ndarray:
        if folder not in self._names:
            try:
                self._names[folder] = _numbers(os.listdir(folder or "."))
            except OSError:
                self._names[folder] = np.zeros(0, np.int64)
        return self._names[folder]


def missing(records: Records) -> np.ndarray:
    """Return the indices of images whose files do not exist, ascending.

    Args:
        records: with a `file_name`.
    """
    listing = FolderListing()
    found: list[int] = []
    confirmed = 0
    for start, stop in chunks(records):
        paths = column(records, "file_name", start, stop).tolist()
        if len(records) <= FEW:
            found += [index for index, path in enumerate(paths, start) if not os.path.isfile(path)]
            continue
        for index in np.flatnonzero(~listing.has(paths)).tolist():
            # a listing and the system may differ in the case, or the composition, of letters
            confirmed += 1
            if confirmed > MOST_CONFIRMED or not os.path.isfile(paths[index]):
                found.append(start + index)
    return np.array(found, np.int64)


def _numbers(names: Iterable[str]) -> np.ndarray:
    return np.fromiter(map(hash, names), np.int64)
