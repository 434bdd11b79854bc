"""Repair of the boxes of a COCO json: of another kind, against their outlines, missing."""

import math
from typing import Any

from querydet.data.box_format import Box, BoxFormat, find_box_format, image_sizes
from querydet.data.entries import is_number
from querydet.data.outline_conflict import OUTLINES, Conflict, find_conflict
from querydet.data.outlines import box_of_outline, have_fractions
from querydet.data.repair_ids import Note

AREA_TOLERANCE = 0.01  # relative: an area that is the product of two numbers of a box


def repair_boxes(content: dict[str, Any], note: Note) -> None:
    """Repair boxes and outlines in place, where the file as a whole says what they are.

    Args:
        content: a COCO json; ids, sizes and numbers are repaired already.
        note: called for every repair.
    """
    entries = [entry for entry in content.get("annotations", []) if isinstance(entry, dict)]
    images = content.get("images")
    _repair_outlines(images, entries, note)
    kind = find_box_format(images, entries)
    conflict = find_conflict(images, entries)
    if not kind.is_coco and kind.layout:
        _convert(images, entries, kind)
        note(f"{kind.fault()}: converted", "all boxes")
    elif conflict and (kind.fractions or conflict.right == OUTLINES):
        _convert(images, entries, conflict)
        note(f"{conflict.fault()}: converted", "all boxes")
    elif kind.fractions:
        return  # a box in pixels among fractions would hide them
    for entry in entries:
        _repair_box(entry, note)


def box_numbers(box: Any) -> list[float] | None:
    """Return the four numbers that a box means: also of texts, and of an object with x, y, width and height."""
    if isinstance(box, dict):
        names = ("x", "y", "width", "height") if "width" in box else ("x", "y", "w", "h")
        box = [box.get(name) for name in names]
    if not isinstance(box, list) or len(box) != 4:
        return None
    numbers = [number_of(value) for value in box]
    return None if any(number is None for number in numbers) else [number for number in numbers if number is not None]


def number_of(value: Any) -> float | None:
    """Return the number that a value means, as one or as a text; None where it means none, or no float holds it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isinstance(value, str) else value


def _repair_outlines(images: Any, entries: list[dict[str, Any]], note: Note) -> None:
    """Convert outlines that are fractions of their images."""
    if not have_fractions(images, entries):
        return
    sizes = image_sizes(images)
    for entry in entries:
        polygons, size = entry.get("segmentation"), _size_of(entry, sizes)
        if size is None or not isinstance(polygons, list) or box_of_outline(polygons) is None:
            continue
        nested = polygons if isinstance(polygons[0], list) else [polygons]
        entry["segmentation"] = [
            [round(float(value) * size[position % 2], 3) for position, value in enumerate(polygon)]
            for polygon in nested
        ]
    note("segmentation has fractions of the image (0 to 1) instead of pixels: converted", "all outlines")


def _convert(images: Any, entries: list[dict[str, Any]], kind: BoxFormat | Conflict) -> None:
    """Convert all boxes of a kind to x, y, width, height in pixels."""
    sizes = image_sizes(images)
    for entry in entries:
        numbers, size = box_numbers(entry.get("bbox")), _size_of(entry, sizes)
        if numbers is None or not all(map(math.isfinite, numbers)) or size is None or min(size) <= 0:
            continue
        x, y, w, h = numbers
        area = number_of(entry.get("area"))
        if isinstance(kind, Conflict):
            entry["bbox"] = kind.convert((x, y, w, h), _corners_of_outline(entry), *size)
            is_of_box = False
        else:
            entry["bbox"] = kind.convert((x, y, w, h), *size)
            is_of_box = kind.fractions
        if is_of_box or (area is not None and math.isclose(area, w * h, rel_tol=AREA_TOLERANCE)):
            entry.pop("area", None)  # it is that of the numbers that were wrong


def _size_of(entry: dict[str, Any], sizes: dict[Any, tuple[float, float]]) -> tuple[float, float] | None:
    image = entry.get("image_id")
    return sizes.get(image) if isinstance(image, int | float | str) else None


def _corners_of_outline(entry: dict[str, Any]) -> Box | None:
    outline = box_of_outline(entry.get("segmentation"))
    return (outline[0], outline[1], outline[0] + outline[2], outline[1] + outline[3]) if outline else None


def _repair_box(entry: dict[str, Any], note: Note) -> None:
    """Take a box that is missing or has no area from the segmentation."""
    box, numbers = entry.get("bbox"), box_numbers(entry.get("bbox"))
    if numbers is None or not (all(map(math.isfinite, numbers)) and numbers[2] > 0 and numbers[3] > 0):
        outline = box_of_outline(entry.get("segmentation"))
        if outline is not None and all(map(is_number, outline)):
            entry["bbox"] = outline
            note("bbox is that of the segmentation now", f"annotation {entry.get('id')} ({box!r})")
