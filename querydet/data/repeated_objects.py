"""Objects that are annotated twice: in one image, of one class, with one box."""

from typing import Any

import numpy as np

from querydet.data.record_columns import IMAGE_COLUMNS, Records, chunks, column, records_of
from querydet.data.record_views import RecordView


def is_repeated(num_objects: np.ndarray, classes: np.ndarray, boxes: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return which objects repeat an earlier one of their image exactly, (T,) bool.

    Args:
        num_objects: (N,) of each image.
        classes: (T,) class indices.
        boxes: (T, 4).
        crowd: (T,) whether it is a crowd region, which repeats no single object.
    """
    images = np.repeat(np.arange(len(num_objects)), num_objects)
    keys = np.column_stack([images, classes, crowd, boxes]).astype(np.float64)
    order = np.lexsort(keys.T[::-1])  # stable: of equal ones, the first in the file comes first
    repeated = np.zeros(len(keys), dtype=bool)
    repeated[order[1:]] = (keys[order[1:]] == keys[order[:-1]]).all(1)
    return repeated


def count_repeated(records: Records) -> int:
    """Count the objects of a data set that repeat an earlier one of their image."""
    return sum(int(_of(records, start, stop).sum()) for start, stop in chunks(records))


class WithoutRepeated(RecordView):
    """The records of a data set without the objects that repeat an earlier one of their image.

    Args:
        records: of the data set.
    """

    def __init__(self, records: Records) -> None:
        self._records = records_of(records)

    def __len__(self) -> int:
        return len(self._records)

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at an index from 0 to the length."""
        record = self._records[index]
        kept, seen = [], set()
        for item in record["annotations"]:
            key = (item["category_id"], item.get("iscrowd", 0), *item["bbox"])
            if key not in seen:
                seen.add(key)
                kept.append(item)
        return record if len(kept) == len(record["annotations"]) else {**record, "annotations": kept}

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a column of consecutive images, see `record_columns.column`."""
        values = column(self._records, name, start, stop)
        if name in IMAGE_COLUMNS and name != "num_objects":
            return values
        kept = ~_of(self._records, start, stop)
        if name != "num_objects":
            return values[kept]
        images = np.repeat(np.arange(len(values)), values)
        return np.bincount(images[kept], minlength=len(values))


def _of(records: Records, start: int, stop: int) -> np.ndarray:
    names = ("num_objects", "category_id", "bbox", "iscrowd")
    counts, classes, boxes, crowd = (column(records, name, start, stop) for name in names)
    return is_repeated(counts, classes, boxes, crowd)
