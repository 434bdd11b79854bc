"""Single columns of data sets as arrays: what whole files are asked for, such as their ids, without a dict an image.

Records that keep their data in columns have a method `column(name, start, stop)`, which `column` asks. Of all others
the column is collected from the dicts.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

CHUNK = 65536  # images: bounds the memory of what is computed for a part of the images at a time
IMAGE_COLUMNS = ("image_id", "file_name", "size", "num_objects")
OBJECT_COLUMNS = ("id", "category_id", "bbox", "iscrowd")  # of all annotations, image by image in their order
COLUMNS = (*IMAGE_COLUMNS, *OBJECT_COLUMNS)
Records = Sequence[dict[str, Any]]


def column(records: Records, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Return a column of consecutive images.

    Args:
        records: dataset dicts, or a data set of them.
        name: one of `COLUMNS`; "num_objects" counts all annotations of an image, crowd regions too.
        start: first image.
        stop: the image after the last one; None: to the end.

    Returns:
        (N,) for `IMAGE_COLUMNS`, and (N, 2) height and width for "size"; (T,) for `OBJECT_COLUMNS`, of all annotations
        of these images, and (T, 4) x, y, w, h for "bbox". An array of Python's objects for texts, and where ids are no
        integers.

    Raises:
        ValueError: there is no such column.
        KeyError: a record has no such value.
    """
    if name not in COLUMNS:
        raise ValueError(f"a column of records is one of {', '.join(COLUMNS)}, not {name!r}")
    stop = len(records) if stop is None else stop
    inner = records_of(records)
    own = getattr(inner, "column", None)
    if own is not None:
        return np.asarray(own(name, start, stop))
    chosen = (inner[index] for index in range(start, stop))
    if name in ("image_id", "file_name"):
        return _ids([record[name] for record in chosen])
    if name == "size":
        return np.array([(record["height"], record["width"]) for record in chosen], dtype=np.int64).reshape(-1, 2)
    items = [record.get("annotations", ()) for record in chosen]
    if name == "num_objects":
        return np.array([len(each) for each in items], dtype=np.int64)
    values = [item.get("iscrowd", 0) if name == "iscrowd" else item[name] for each in items for item in each]
    if name == "bbox":
        return np.array(values, dtype=np.float64).reshape(-1, 4)
    return _ids(values)


def records_of(dataset: Any) -> Records:
    """Return the records inside of a `DetectionDataset`, or of a loader's data set; other sequences as they are."""
    if hasattr(dataset, "records"):
        inner: Records = dataset.records
        return inner
    if hasattr(dataset, "record") and not isinstance(
        dataset, Sequence
    ):  # of a loader of one's own: its items are mapped
        return [dataset.record(index) for index in range(len(dataset))]
    own: Records = dataset
    return own


def chunks(records: Records, size: int = CHUNK) -> Iterator[tuple[int, int]]:
    """Yield the first image and the one after the last of parts of the images."""
    for start in range(0, len(records), size):
        yield start, min(start + size, len(records))


def _ids(values: list[Any]) -> np.ndarray:
    whole = all(isinstance(value, int | np.integer) and abs(int(value)) < 2**62 for value in values)
    return np.array(values, dtype=np.int64) if whole else np.array([*values, None], dtype=object)[:-1]
