"""Records that are made of other records: some of them, or those of several data sets one after the other.

They hold no dicts of their own: a record is made when it is asked for, and columns come from what they are made of
(`data.record_columns`). All of them can be pickled for data workers.
"""

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from querydet.data.record_columns import IMAGE_COLUMNS, Records, column, records_of


class RecordView(Sequence[dict[str, Any]]):
    """Base class: a part of a view is a view, too."""

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at an index from 0 to the length."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> "ChosenRecords": ...

    def __getitem__(self, index: int | slice) -> "dict[str, Any] | ChosenRecords":
        if isinstance(index, slice):
            return ChosenRecords(self, range(len(self))[index])
        return self.record(range(len(self))[index])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.record, range(len(self)))


class ChosenRecords(RecordView):
    """Some of the records of a data set.

    Args:
        records: all of them.
        indices: of those that are chosen, in their order: a range, or (N,) integers.
    """

    def __init__(self, records: Records, indices: range | np.ndarray) -> None:
        self._records = records_of(records)
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at an index from 0 to the length."""
        return self._records[int(self._indices[index])]

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a column of consecutive images, see `record_columns.column`."""
        chosen = self._indices[start:stop]
        if not len(chosen):
            return column(self._records, name, 0, 0)
        if isinstance(chosen, range) and chosen.step == 1:
            return column(self._records, name, chosen.start, chosen.stop)
        rows = np.asarray(chosen)
        first, last = int(rows.min()), int(rows.max()) + 1
        values = column(self._records, name, first, last)
        if name in IMAGE_COLUMNS:
            return values[rows - first]
        counts = column(self._records, "num_objects", first, last)
        return values[rows_of(counts, rows - first)]


def rows_of(counts: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the rows of the objects of some images in a column of the objects of all images.

    Args:
        counts: (N,) objects of each image.
        images: (n,) indices of images.
    """
    ends = np.cumsum(counts)
    chosen = counts[images]
    before = np.cumsum(chosen) - chosen  # objects of the images in front of each
    return np.arange(int(chosen.sum())) + np.repeat(ends[images] - chosen - before, chosen)


@dataclass(frozen=True)
class Part:
    """The records of one of several data sets, and what is added to their ids.

    Args:
        records: of the data set.
        image_shift: added to `image_id`.
        annotation_shift: added to the `id` of annotations.
    """

    records: Records
    image_shift: int = 0
    annotation_shift: int = 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        changes: dict[str, Any] = {}
        if self.image_shift:
            changes["image_id"] = record["image_id"] + self.image_shift
        if self.annotation_shift and "annotations" in record:
            items = record["annotations"]
            changes["annotations"] = [
                {**item, "id": item["id"] + self.annotation_shift} if "id" in item else item for item in items
            ]
        return {**record, **changes} if changes else record


class JoinedRecords(RecordView):
    """The records of several data sets, one after the other.

    Args:
        parts: the data sets.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = list(parts)
        self._ends = list(itertools.accumulate(len(part.records) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at an index from 0 to the length."""
        number = bisect.bisect_right(self._ends, index)
        return self._parts[number][index - self._start(number)]

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a column of consecutive images, see `record_columns.column`."""
        found = []
        for number, part in enumerate(self._parts):
            first = self._start(number)
            begin, end = max(start - first, 0), min(stop - first, len(part.records))
            if begin < end:
                values = column(part.records, name, begin, end)
                shift = {"image_id": part.image_shift, "id": part.annotation_shift}.get(name, 0)
                found.append(values + shift if shift else values)
        return np.concatenate(found) if found else column(self._parts[0].records, name, 0, 0)

    def _start(self, number: int) -> int:
        return self._ends[number - 1] if number else 0
