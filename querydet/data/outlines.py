"""Boxes around the outlines of a COCO json: polygons, and masks as run lengths."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from pycocotools import mask

from querydet.data.box_format import Box, find_box_format, image_sizes
from querydet.data.entries import as_number, is_crowd, is_id, is_number

MOST_ANNOTATIONS = 2000  # of a file that are looked at


class Outlined(NamedTuple):
    """An annotation with a box and an outline."""

    label: str | int  # id or position of the annotation
    box: Box  # as it is written
    outline: Box  # x0, y0, x1, y1 of the outline, as it is written
    width: float  # of the image, in pixels
    height: float


def box_of_outline(outline: Any) -> list[float] | None:
    """Return the box x, y, width, height around polygons or a mask of run lengths; None where it has no area."""
    if isinstance(outline, dict):
        return _box_of_mask(outline)
    polygons = outline if isinstance(outline, list) and outline and isinstance(outline[0], list) else [outline]
    points: list[float] = []
    for polygon in polygons:
        numbers = [as_number(value) for value in polygon] if isinstance(polygon, list) else []
        if len(numbers) < 6 or len(numbers) % 2 or not all(is_number(value) and _is_finite(value) for value in numbers):
            return None
        points += numbers
    x, y = min(points[0::2]), min(points[1::2])
    w, h = max(points[0::2]) - x, max(points[1::2]) - y
    return [x, y, w, h] if w > 0 and h > 0 else None


def outlined_boxes(images: Any, annotations: Any) -> Iterator[Outlined]:
    """Yield the annotations that have a box and an outline, crowds aside, however broken other entries are.

    Args:
        images: of the json.
        annotations: of the json; of a long list some are taken, evenly spread.
    """
    sizes = image_sizes(images)
    entries = annotations if isinstance(annotations, list) else []
    step = max(1, math.ceil(len(entries) / MOST_ANNOTATIONS))
    for position in range(0, len(entries), step):
        entry = entries[position]
        if not isinstance(entry, dict) or is_crowd(entry) or not _can_be_id(entry.get("image_id")):
            continue
        size, box = sizes.get(entry["image_id"]), entry.get("bbox")
        if size is None or min(size) <= 0 or not isinstance(box, list) or len(box) != 4:
            continue
        outline = box_of_outline(entry.get("segmentation"))
        if outline and all(is_number(value) and _is_finite(value) for value in box):
            x, y, w, h = outline
            label = entry["id"] if is_id(entry.get("id")) else position
            yield Outlined(label, (box[0], box[1], box[2], box[3]), (x, y, x + w, y + h), *size)


def have_fractions(images: Any, annotations: Any) -> bool:
    """Return whether the outlines of a json are fractions of their images, 0 to 1, instead of pixels."""
    entries = annotations if isinstance(annotations, list) else []
    step = max(1, math.ceil(len(entries) / MOST_ANNOTATIONS))
    outlines = [
        {"image_id": entry.get("image_id"), "bbox": box_of_outline(entry["segmentation"])}
        for entry in entries[::step]
        if isinstance(entry, dict) and isinstance(entry.get("segmentation"), list)
    ]
    return find_box_format(images, outlines).fractions


def _box_of_mask(outline: dict[str, Any]) -> list[float] | None:
    size, counts = outline.get("size"), outline.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_id, size)):
        return None
    # pycocotools reads compressed counts, a text, without checking them
    if not isinstance(counts, list) or not all(is_id(count) and count >= 0 for count in counts):
        return None
    if sum(counts) != size[0] * size[1]:
        return None
    box = [float(value) for value in mask.toBbox(mask.frPyObjects({"size": size, "counts": counts}, *size))]
    return box if box[2] > 0 and box[3] > 0 else None


def _can_be_id(value: Any) -> bool:
    return isinstance(value, int | float | str)


def _is_finite(value: float) -> bool:
    return abs(value) < 2**53  # false for NaN, too
