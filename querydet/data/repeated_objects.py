"""Objects that are annotated twice: in one image, of one class, with one box."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from querydet.data.record_columns import IMAGE_COLUMNS, Records, chunks, column
from querydet.data.record_views import RecordView

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads bits when multiplied


def is_repeated(num_objects: np.ndarray, classes: np.ndarray, boxes: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return which objects repeat an earlier one of their image exactly, (T,) bool.

    Args:
        num_objects: (N,) of each image.
        classes: (T,) class indices.
        boxes: (T, 4).
        crowd: (T,) whether it is a crowd region, which repeats no single object.
    """
    images = np.repeat(np.arange(len(num_objects)), num_objects)
    keys = np.column_stack([images, classes, crowd, boxes]).astype(np.float64) + 0.0  # which makes -0.0 to 0.0
    order = np.argsort(_mixed(keys), kind="stable")  # of equal ones, the first in the file comes first
    repeated = np.zeros(len(keys), dtype=bool)
    repeated[order[1:]] = (keys[order[1:]] == keys[order[:-1]]).all(1)
    return repeated


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Mix rows (T, n) of 64-bit floats to 64-bit integers (T,), which sort much faster; equal rows stay equal."""
    mixed = np.zeros(len(keys), dtype=np.uint64)
    for values in keys.T:
        mixed = (mixed ^ values.copy().view(np.uint64)) * _ODD
        mixed ^= mixed >> np.uint64(29)
    return mixed


class WithoutRepeated(RecordView):
    """The records of a data set without the objects that repeat an earlier one of their image.

    Args:
        dataset: the data set, or its records.

    Attributes:
        repeated: number of the objects that are left out.
    """

    def __init__(self, dataset: Records) -> None:
        super().__init__(dataset)
        self.repeated = sum(int(_of(dataset, start, stop).sum()) for start, stop in chunks(dataset))

    def __len__(self) -> int:
        return len(self._inner[0])

    def count_objects(self, inner: Sequence[int]) -> int:
        """Return the number of annotations that are left."""
        return sum(inner) - self.repeated

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at an index from 0 to the length."""
        record = self._inner[0][index]
        kept, seen = [], set()
        for item in record["annotations"]:
            key = (item["category_id"], item.get("iscrowd", 0), *item["bbox"])
            if key not in seen:
                seen.add(key)
                kept.append(item)
        return record if len(kept) == len(record["annotations"]) else {**record, "annotations": kept}

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a column of consecutive images, see `record_columns.column`."""
        values = column(self._inner[0], name, start, stop)
        if name in IMAGE_COLUMNS and name != "num_objects":
            return values
        kept = ~_of(self._inner[0], start, stop)
        if name != "num_objects":
            return values[kept]
        images = np.repeat(np.arange(len(values)), values)
        return np.bincount(images[kept], minlength=len(values))


def _of(records: Records, start: int, stop: int) -> np.ndarray:
    names = ("num_objects", "category_id", "bbox", "iscrowd")
    counts, classes, boxes, crowd = (column(records, name, start, stop) for name in names)
    return is_repeated(counts, classes, boxes, crowd)
