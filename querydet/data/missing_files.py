"""Image files that a data set names and the disk lacks.

A question to the disk for each of millions of files takes hours on network storage. Of columns, every folder is listed
once instead.
"""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from querydet.data.columns import ColumnRecords


def missing_files(records: Sequence[Mapping[str, Any]], folder: str) -> list[str]:
    """Return the image files of records that do not exist, in the order of the records.

    Args:
        records: of a data set.
        folder: of the images; if it does not exist, nothing is looked for.
    """
    if not os.path.isdir(folder):
        return []
    if isinstance(records, ColumnRecords):
        return [records.file_name(index) for index in _missing_indices(records, folder)]
    names = (record["file_name"] for record in records)
    return [name for name in names if not os.path.isfile(name)]


def _missing_indices(records: ColumnRecords, folder: str) -> list[int]:
    by_folder: dict[str, list[int]] = {}
    for index, name in enumerate(_stored_names(records)):
        by_folder.setdefault(os.path.dirname(name), []).append(index)
    missing: list[int] = []
    for sub, indices in by_folder.items():
        listed = _files(os.path.join(folder, sub))
        names = (os.path.basename(records.stored_name(index)) for index in indices)
        unlisted = [index for index, name in zip(indices, names, strict=True) if name not in listed]
        # a listing and the system may disagree about the case or the composition of letters
        missing += [index for index in unlisted if not os.path.isfile(records.file_name(index))]
    return sorted(missing)


def _stored_names(records: ColumnRecords) -> Iterable[str]:
    starts: np.ndarray = records.columns["name_start"]
    text = records.columns["name"]
    for first in range(0, len(records), 10_000):
        offsets = starts[first : first + 10_001].tolist()
        piece = text[offsets[0] : offsets[-1]].tobytes()
        for start, stop in itertools.pairwise(offsets):
            yield piece[start - offsets[0] : stop - offsets[0]].decode(errors="surrogatepass")


def _files(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()
