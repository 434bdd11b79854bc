"""Entries of a json as rows of numbers; what does not fit is set aside for the checks, which name it.

Batches of plain entries are converted at once; one that holds anything unusual is converted entry by entry.
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from querydet.data.coco_checks import MAX_SIDE_PX
from querydet.data.entries import as_number, is_crowd, is_id, is_ignored, is_number
from querydet.data.file_names import fault_of

INT64 = 2**63  # ids beyond it fit into no column
Odd = list[tuple[int, Any]]  # entries with their positions in the list of the json

ANNOTATION = np.dtype(
    [
        ("id", "<i8"),
        ("image_id", "<i8"),
        ("category_id", "<i8"),
        ("box", "<f8", (4,)),
        ("area", "<f8"),  # NaN: to be taken from the box
        ("crowd", "u1"),
        ("ignored", "u1"),
        ("boxless", "u1"),  # there is no box, index of `NO_BOX`; with masks, it is that of the outline
        ("outline", "<i8", (2,)),  # with masks, place and length of the outline in its file
    ]
)
NO_BOX: tuple[Any, ...] = ("a box", None, [])  # how it is written that there is none
IMAGE = np.dtype([("id", "<i8"), ("height", "<i4"), ("width", "<i4")])


class Rows(NamedTuple):
    """What a batch of entries became.

    Args:
        rows: of the entries that fit, structured.
        odd: the other entries.
        kept: the entries that fit, in the order of the rows.
    """

    rows: np.ndarray
    odd: Odd
    kept: Sequence[Any]


def annotation_rows(entries: list[Any], first: int, masks: bool = False) -> Rows:
    """Convert annotations.

    Args:
        entries: of the json.
        first: position of the first one in its list.
        masks: whether an annotation may do without a box.

    Returns:
        Rows of `ANNOTATION`; boxes and areas as they are written.
    """
    rows = _plain_annotations(entries)
    if rows is not None:
        return Rows(rows, [], entries)

    def row(entry: Any) -> tuple[Any, ...] | None:
        return _annotation_row(entry, masks)

    return _one_by_one(entries, first, row, ANNOTATION)


def image_rows(entries: list[Any], first: int, folder: str) -> Rows:
    """Convert images to rows of `IMAGE`; see `annotation_rows`.

    Args:
        entries: of the json.
        first: position of the first one in its list.
        folder: of the images.
    """

    def row(entry: Any) -> tuple[Any, ...] | None:
        return _image_row(entry, folder)

    return _one_by_one(entries, first, row, IMAGE)


def _plain_annotations(entries: list[Any]) -> np.ndarray | None:
    """Convert annotations that are written as COCO's; None if one of them is not."""
    try:
        numbers = {key: [entry[key] for entry in entries] for key in ("id", "image_id", "category_id")}
        boxes = [entry["bbox"] for entry in entries]
        if set(map(type, boxes)) != {list} or set(map(len, boxes)) != {4}:
            return None
        numbers["box"] = list(chain.from_iterable(boxes))
        numbers["area"] = [entry.get("area", 0) for entry in entries]
        numbers["crowd"] = [entry.get("iscrowd", 0) for entry in entries]
        if any("ignore" in entry for entry in entries):
            return None
        for key, values in numbers.items():
            if not set(map(type, values)) <= ({int, float} if key in ("box", "area") else {int}):
                return None
        rows = np.zeros(len(entries), ANNOTATION)
        for key in ("id", "image_id", "category_id"):
            rows[key] = numbers[key]
        rows["box"] = np.array(numbers["box"], np.float64).reshape(-1, 4)
        rows["area"] = numbers["area"]
        crowd = np.array(numbers["crowd"])
    except (KeyError, TypeError, AttributeError, OverflowError, IndexError):
        return None
    if not np.isin(crowd, (0, 1)).all():
        return None
    rows["crowd"] = crowd
    return rows


def _one_by_one(entries: list[Any], first: int, convert: Any, dtype: np.dtype) -> Rows:
    odd: Odd = []
    rows, kept = [], []
    for position, entry in enumerate(entries, start=first):
        row = convert(entry)
        if row is None:
            odd.append((position, entry))
        else:
            rows.append(row)
            kept.append(entry)
    return Rows(np.array(rows, dtype), odd, kept)


def _annotation_row(entry: Any, masks: bool) -> tuple[Any, ...] | None:
    if not isinstance(entry, dict) or not all(_fits(entry.get(key)) for key in ("id", "image_id", "category_id")):
        return None
    box = entry.get("bbox")
    boxless = NO_BOX.index(box) if masks and box in NO_BOX[1:] else 0
    if boxless:
        box = [math.nan] * 4
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return None
    if entry.get("iscrowd", 0) not in (0, 1):
        return None
    area = as_number(entry.get("area"))
    return (
        entry["id"],
        entry["image_id"],
        entry["category_id"],
        tuple(map(_as_float, box)),
        _as_float(area) if isinstance(area, int | float) else math.nan,
        is_crowd(entry),
        is_ignored(entry),
        boxless,
        (0, 0),
    )


def _image_row(entry: Any, folder: str) -> tuple[int, int, int] | None:
    if not isinstance(entry, dict) or not _fits(entry.get("id")) or fault_of(entry.get("file_name"), folder):
        return None
    sides = (entry.get("height"), entry.get("width"))
    if not all(is_number(side) and 0 < side < MAX_SIDE_PX and side % 1 == 0 for side in sides):
        return None
    return (entry["id"], int(entry["height"]), int(entry["width"]))


def _fits(value: Any) -> bool:
    return is_id(value) and -INT64 <= value < INT64


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a json integer of hundreds of digits
        return math.inf
