"""Masks of a data set: what `segmentation` may be in a COCO json, and the one place where outlines become pixels.

An outline is a list of polygons, each x0, y0, x1, y1, ... in pixels, or run lengths, compressed or not
(`utils.run_lengths`). Files of others also have a single polygon without the list around it. Polygons become pixels by
`pycocotools`, which the official evaluation uses: coordinates as they are, the union of the polygons, clipped to the
image.

Format: https://cocodataset.org/#format-data (object detection).
"""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from querydet.utils.run_lengths import RunLengths, checked

Polygons = list[np.ndarray]  # each x0, y0, x1, y1, ...: (2 n,) float64, n >= 3
Segmentation = Polygons | RunLengths
Extent = tuple[float, float, float, float]  # x0, y0, x1, y1

LEAST_NUMBERS = 6  # of a polygon: three points
MAX_OUTLINE = 2**22  # pixels along the edges of a polygon: pycocotools makes five points of each, unchecked
MAX_SIDE = 2**20  # pixels of an image with masks; pycocotools computes with 32 bits
MAX_MASK = 2**31  # pixels of a mask, likewise


class BadOutlineError(ValueError):
    """An outline of a json that cannot be read.

    Args:
        kind: of the fault, for a report by kinds.
        detail: what was found.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"segmentation {kind}" + (f": {detail}" if detail else ""))
        self.kind = f"segmentation {kind}"
        self.detail = detail


class Outline(NamedTuple):
    """An outline that was read.

    Args:
        segmentation: polygons, those outside of the image left out, or run lengths; None where there is no outline, or
            all of it lies outside of the image.
        extent: box around it in pixels, not clipped; None where there is no outline.
        left_out: polygons of fewer than three points.
    """

    segmentation: Segmentation | None = None
    extent: Extent | None = None
    left_out: int = 0


def read_outline(value: Any, height: int, width: int) -> Outline:
    """Read and check the `segmentation` of an annotation, in any form that COCO has.

    Args:
        value: the entry of a json; None and an empty list mean that there is no outline.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Raises:
        BadOutlineError: it is neither polygons nor run lengths; coordinates are no finite numbers, of an odd number or
            millions of pixels apart; run lengths do not decode, or are of another size than the image.
    """
    if max(height, width) > MAX_SIDE or height * width > MAX_MASK:
        raise BadOutlineError("of an image that is too large for masks", f"{width} x {height} pixels")
    if value is None or (isinstance(value, Sequence) and not isinstance(value, str | bytes) and not len(value)):
        return Outline()
    if isinstance(value, Mapping):
        return _read_run_lengths(value, height, width)
    if not isinstance(value, list | tuple | np.ndarray):
        raise BadOutlineError("is neither polygons nor run lengths", type(value).__name__)
    return _read_polygons(value, height, width)


def to_run_lengths(segmentation: Any, height: int, width: int) -> RunLengths:
    """Rasterise an outline to run lengths with a text as counts.

    Args:
        segmentation: as of `load_coco(masks=True)`, or any form that `read_outline` reads.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Raises:
        BadOutlineError: it cannot be read.
    """
    outline = read_outline(segmentation, height, width).segmentation
    if isinstance(outline, dict):
        return outline
    if outline is None:
        merged = coco_mask.encode(np.zeros((height, width), dtype=np.uint8, order="F"))
    else:
        merged = coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
    return {"size": [height, width], "counts": merged["counts"].decode()}


def to_bitmap(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Rasterise an outline to a mask (height, width) bool; arguments and errors as of `to_run_lengths`."""
    return np.ascontiguousarray(coco_mask.decode(to_run_lengths(segmentation, height, width))).view(bool)


def box_of_extent(extent: Extent, height: int, width: int) -> list[float]:
    """Return the box x, y, width, height of the part of an extent that lies in the image."""
    x0, y0, x1, y1 = extent
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    return [x0, y0, x1 - x0, y1 - y0]


def _read_run_lengths(value: Mapping[str, Any], height: int, width: int) -> Outline:
    try:
        mask = checked(value, height, width)
    except ValueError as error:
        raise BadOutlineError("has run lengths that cannot be used", str(error)) from None
    x, y, w, h = (float(number) for number in coco_mask.toBbox(mask))
    return Outline(mask, (x, y, x + w, y + h)) if coco_mask.area(mask) else Outline()


def _read_polygons(value: Any, height: int, width: int) -> Outline:
    parts = [value] if _is_number(value[0]) else value
    if len(parts) >= LEAST_NUMBERS // 2 and all(isinstance(part, list | tuple) and len(part) == 2 for part in parts):
        raise BadOutlineError("has points as pairs", "polygons have to be x0, y0, x1, y1, ... in one list each")
    polygons = [_read_polygon(part) for part in parts]
    usable = [polygon for polygon in polygons if len(polygon) >= LEAST_NUMBERS]
    left_out = len(polygons) - len(usable)
    if not usable:
        return Outline(left_out=left_out)
    extents = [_extent_of(polygon) for polygon in usable]
    inside = []
    for polygon, extent in zip(usable, extents, strict=True):
        if not _is_outside(extent, height, width):
            _check_length(polygon, extent)
            inside.append(polygon)
    left, top, right, bottom = zip(*extents, strict=True)
    return Outline(inside or None, (min(left), min(top), max(right), max(bottom)), left_out)


def _read_polygon(part: Any) -> np.ndarray:
    """Return the numbers of a polygon, (2 n,) float64."""
    if not isinstance(part, list | tuple | np.ndarray):
        raise BadOutlineError("has coordinates that are no finite numbers", f"{part!r:.40}")
    if not isinstance(part, np.ndarray):
        if not set(map(type, part)) <= {int, float} and not all(map(_is_number, part)):
            raise BadOutlineError("has coordinates that are no finite numbers", f"{list(part)!r:.40}")
    elif part.ndim != 1 or part.dtype.kind not in "fiu":
        raise BadOutlineError("has coordinates that are no finite numbers", f"an array {part.shape} of {part.dtype}")
    try:
        polygon = np.asarray(part, dtype=np.float64)
    except OverflowError:  # a json integer of hundreds of digits
        raise BadOutlineError("has coordinates that are no finite numbers", "an integer beyond any float") from None
    if not np.isfinite(polygon).all():
        raise BadOutlineError("has coordinates that are no finite numbers", f"{part!r:.40}")
    if len(polygon) % 2:
        raise BadOutlineError("has an odd number of coordinates", f"{len(polygon)} in a polygon")
    return polygon


def _check_length(polygon: np.ndarray, extent: Extent) -> None:
    if len(polygon) / 2 * max(extent[2] - extent[0], extent[3] - extent[1]) <= MAX_OUTLINE:
        return  # which is quicker to say than the length
    points = polygon.reshape(-1, 2)
    length = float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
    if length > MAX_OUTLINE:
        raise BadOutlineError(
            "reaches far beyond the image", f"the edges of a polygon are {length:.3g} pixels long together"
        )


def _extent_of(polygon: np.ndarray) -> Extent:
    x, y = polygon[0::2], polygon[1::2]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _is_outside(extent: Extent, height: int, width: int) -> bool:
    return extent[2] <= 0 or extent[3] <= 0 or extent[0] >= width or extent[1] >= height


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
