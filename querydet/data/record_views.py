"""Records that are made of other records: some of them, or those of several data sets one after the other.

Nothing is copied: every access makes a record of one of the other data's, and whole columns (`data.record_columns`) are
made of their columns. All of them can be pickled for data workers.
"""

import bisect
import copy
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from querydet.data.catalog import class_names
from querydet.data.fingerprint import digest_of, record_digest
from querydet.data.record_columns import IMAGE_COLUMNS, Records, chunks, column, records_of


class RecordView(Sequence[dict[str, Any]]):
    """Base class.

    Args:
        datasets: what the view is made of: data sets, or records of them.
    """

    def __init__(self, *datasets: Records) -> None:
        self._inner = [records_of(dataset) for dataset in datasets]
        self._categories = [_names(dataset) for dataset in datasets]

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at an index from 0 to the length."""
        raise NotImplementedError

    def rule(self) -> Any:
        """Return what decides on the records besides what they are made of, as plain values."""
        return None

    def count_objects(self, inner: Sequence[int]) -> int:
        """Return the number of annotations.

        Args:
            inner: those of what the view is made of.
        """
        return sum(inner)

    @property
    def digests(self) -> dict[str, Any]:
        """Return the digest of all records, see `fingerprint`: made of those inside, so that none has to be read."""
        known = [
            getattr(records, "digests", None) or record_digest(records, names)
            for records, names in zip(self._inner, self._categories, strict=True)
        ]
        text = json.dumps([type(self).__name__, self.rule(), [each["records_sha256"] for each in known]])
        found = {
            "objects": self.count_objects([each["objects"] for each in known]),
            "records_sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        files = [each.get("annotations_sha256", "") for each in known]
        return found | ({"annotations_sha256": digest_of(dict.fromkeys(files))} if all(files) else {})

    def shared(self, share: Callable[[Records], Records]) -> "RecordView":
        """Return the same view of records that are shared with data workers by a function."""
        view = copy.copy(self)
        view._inner = [share(records) for records in self._inner]
        return view

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
        dataset: all of them.
        indices: of those that are chosen, in their order: a range, or (N,) integers.
    """

    def __init__(self, dataset: Records, indices: range | np.ndarray) -> None:
        super().__init__(dataset)
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at an index from 0 to the length."""
        return self._inner[0][int(self._indices[index])]

    def rule(self) -> Any:
        """Return the range, or the digest of the indices."""
        if isinstance(self._indices, range):
            return [self._indices.start, self._indices.stop, self._indices.step]
        return hashlib.sha256(np.asarray(self._indices, dtype="<i8").tobytes()).hexdigest()

    def count_objects(self, inner: Sequence[int]) -> int:
        """Return the number of annotations of the chosen images."""
        return sum(int(self.column("num_objects", *chunk).sum()) for chunk in chunks(self))

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a column of consecutive images, see `record_columns.column`."""
        records, chosen = self._inner[0], self._indices[start:stop]
        if not len(chosen):
            return column(records, name, 0, 0)
        if isinstance(chosen, range) and chosen.step == 1:
            return column(records, name, chosen.start, chosen.stop)
        rows = np.asarray(chosen)
        first, last = int(rows.min()), int(rows.max()) + 1
        values = column(records, name, first, last)
        if name in IMAGE_COLUMNS:
            return values[rows - first]
        counts = column(records, "num_objects", first, last)
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
    """One of several data sets, and what is added to its ids.

    Args:
        dataset: the data set, or its records.
        image_shift: added to `image_id`.
        annotation_shift: added to the `id` of annotations.
    """

    dataset: Records
    image_shift: int = 0
    annotation_shift: int = 0


class JoinedRecords(RecordView):
    """The records of several data sets, one after the other.

    Args:
        parts: the data sets.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__(*(part.dataset for part in parts))
        self._shifts = [(part.image_shift, part.annotation_shift) for part in parts]
        self._ends = list(itertools.accumulate(len(part.dataset) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at an index from 0 to the length."""
        number = bisect.bisect_right(self._ends, index)
        return _shifted(self._inner[number][index - self._start(number)], *self._shifts[number])

    def rule(self) -> Any:
        """Return what is added to ids."""
        return self._shifts

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a column of consecutive images, see `record_columns.column`."""
        found = []
        for number, records in enumerate(self._inner):
            first = self._start(number)
            begin, end = max(start - first, 0), min(stop - first, self._ends[number] - first)
            if begin < end:
                values = column(records, name, begin, end)
                shift = dict(zip(("image_id", "id"), self._shifts[number], strict=True)).get(name, 0)
                found.append(values + shift if shift else values)
        return np.concatenate(found) if found else column(self._inner[0], name, 0, 0)

    def _start(self, number: int) -> int:
        return self._ends[number - 1] if number else 0


def _shifted(record: dict[str, Any], image_shift: int, annotation_shift: int) -> dict[str, Any]:
    """Return a record with other ids."""
    changes: dict[str, Any] = {}
    if image_shift:
        changes["image_id"] = record["image_id"] + image_shift
    if annotation_shift and "annotations" in record:
        items = record["annotations"]
        changes["annotations"] = [
            {**item, "id": item["id"] + annotation_shift} if "id" in item else item for item in items
        ]
    return {**record, **changes} if changes else record


def _names(dataset: Any) -> list[str]:
    """Return the class names of a data set; none of records."""
    try:
        return class_names(dataset)
    except ValueError:
        return []
