"""What the numbers of a file's boxes are: COCO's x, y, width, height in pixels, corners, centres, or fractions.

A single box rarely tells. The file as a whole does: boxes of another kind leave their images in great number, and none
does when they are read as what they are; or all of them lie in the first pixel of large images. A file is only called
wrong on evidence of several different boxes that no file of COCO's kind has; files with few boxes are not.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

LEAST_BOXES = 3  # different ones that have to speak against COCO's kind
LEAST_SHARE = 0.05  # of all boxes: a few wild ones are mistakes of annotators
FAR = 0.1  # part of the image's side by which a box has to leave it to be evidence; less is careless drawing
TOLERANCE_PX = 1.5  # by which boxes of the right kind may leave the image
FRACTION_TOLERANCE = 0.05  # the same for fractions
LEAST_LOG_ODDS = 25.0  # against boxes that all lie in the first pixel of their images, width x height to 1 for each
MANY_BOXES = 10  # that leave their images; fewer by far are believed when their annotated areas say they are right
AREA_TOLERANCE = 0.01  # relative, of an annotated area
EXCEPTIONS = 100  # one box in so many may be a mistake of another kind
LAYOUTS = {
    "xywh": "x, y, width, height",
    "xyxy": "corners x0, y0, x1, y1",
    "cxcywh": "centre x, centre y, width, height",
}
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxFormat:
    """The kind of a file's boxes.

    Args:
        layout: key of `LAYOUTS`; "" where several fit.
        fractions: of the image's sides instead of pixels.
        count: boxes that were looked at.
        first: annotation of the first box that speaks against COCO's kind.
    """

    layout: str = "xywh"
    fractions: bool = False
    count: int = 0
    first: str | int = ""

    @property
    def is_coco(self) -> bool:
        """Return whether the boxes are COCO's: x, y, width, height in pixels."""
        return self.layout == "xywh" and not self.fractions

    def fault(self) -> str:
        """Return the fault in words."""
        if not self.fractions:
            return f"bbox has {LAYOUTS[self.layout]} instead of x, y, width, height"
        layout = f", as {LAYOUTS[self.layout]}" if self.layout not in ("", "xywh") else ""
        return f"bbox has fractions of the image (0 to 1{layout}) instead of pixels"

    def remedy(self) -> str:
        """Return what to do about it."""
        way = "check-data --write-fixed converts them"
        if not self.layout:
            way = "Multiply x and width by the image's width, y and height by its height"
        return f"{way}; dataset.check_boxes=False takes them as they are"

    def convert(self, box: Box, width: float, height: float) -> list[float]:
        """Convert a box of this kind to x, y, width, height in pixels."""
        if self.fractions:
            box = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
        x0, y0, x1, y1 = corners(box, self.layout)
        return [round(value, 3) for value in (x0, y0, x1 - x0, y1 - y0)]


class Annotated(NamedTuple):
    """A box of a json, with what it is compared with."""

    label: str | int  # id or position of the annotation
    box: Sequence[float]  # four numbers
    width: float  # of the image, in pixels
    height: float
    area: float | None  # annotated, in square pixels


def find_box_format(images: Any, annotations: Any) -> BoxFormat:
    """Recognise the kind of the boxes of a json, in one pass that ends when it can only be COCO's.

    Boxes that are not finite, or have no positive third and fourth number, say nothing.

    Args:
        images: of the json; entries that are no images are passed over.
        annotations: of the json.
    """
    boxes = annotated_boxes(images, annotations)
    evidence = _Evidence(len(annotations) if isinstance(annotations, list) else 0)
    for annotated in boxes:
        if all(map(math.isfinite, annotated.box)) and annotated.box[2] > 0 and annotated.box[3] > 0:
            evidence.add(annotated)
            if evidence.can_only_be_coco:
                break
    return evidence.conclude()


def mostly_outside(images: Any, annotations: Any) -> str:
    """Say where, when most boxes lie outside of their images: they are of another scale, or of other images.

    Args:
        images: of the json.
        annotations: of the json.
    """
    total, outside = 0, []
    leaving, before = 0, 0  # boxes that leave their images to the right and below; those that begin before them
    for label, (x, y, w, h), width, height, _ in annotated_boxes(images, annotations):
        total += 1
        before += x < -TOLERANCE_PX or y < -TOLERANCE_PX
        leaving += x + w > width * (1 + FAR) + TOLERANCE_PX or y + h > height * (1 + FAR) + TOLERANCE_PX
        if w > 0 and h > 0 and (x >= width or y >= height or x + w <= 0 or y + h <= 0):
            outside.append(label)
    # objects that are annotated beyond the image leave it on all sides, boxes of a larger image on two
    is_larger = 2 * leaving > total and 10 * len(outside) > total and before <= total // EXCEPTIONS
    if len(outside) < MANY_BOXES or not (is_larger or 2 * len(outside) > total):
        return ""
    return (
        f"{len(outside)} of {total} lie outside and {leaving} reach beyond, annotation {outside[0]} for one: their "
        "coordinates are of another scale (such as 0 to 1000), or the sizes of the images are wrong. "
        "dataset.check_boxes=False drops or clips them"
    )


class _Evidence:
    """What the boxes that were seen so far say."""

    def __init__(self, total: int) -> None:
        self.exceptions = total // EXCEPTIONS
        self.count = 0
        self.first: str | int = ""
        self.beyond_fractions = 0
        self.odds: dict[Box, float] = {}  # of different boxes within the first pixel, not at whole numbers
        self.unit_misfits = dict.fromkeys(LAYOUTS, 0)
        self.wrong: dict[Box, str | int] = {}  # different boxes that leave their images by far
        self.wrong_count = 0
        self.confirmed = 0  # of these, those whose annotated area is that of COCO's kind
        self.misfits = {"xyxy": 0, "cxcywh": 0}

    def add(self, annotated: Annotated) -> None:
        label, values, width, height, area = annotated
        box = (float(values[0]), float(values[1]), float(values[2]), float(values[3]))
        self.first = label if not self.count else self.first
        self.count += 1
        if all(-FRACTION_TOLERANCE <= value <= 1 + FRACTION_TOLERANCE for value in box):
            if any(value % 1 for value in box):
                self.odds[box] = math.log(max(width * height, 1.0))
            for layout in LAYOUTS:
                self.unit_misfits[layout] += not _fits(box, layout, 1.0, 1.0, FRACTION_TOLERANCE)
        else:
            self.beyond_fractions += 1
        x, y, w, h = box
        if x + w > width * (1 + FAR) + TOLERANCE_PX or y + h > height * (1 + FAR) + TOLERANCE_PX:
            self.wrong.setdefault(box, label)
            self.wrong_count += 1
            self.confirmed += area is not None and abs(area - w * h) <= AREA_TOLERANCE * w * h
        for layout in self.misfits:
            self.misfits[layout] += not _fits(box, layout, width, height, TOLERANCE_PX)

    @property
    def can_only_be_coco(self) -> bool:
        """Whether no further box can change the conclusion."""
        return self.beyond_fractions > self.exceptions and min(self.misfits.values()) > self.exceptions

    def conclude(self) -> BoxFormat:
        if self.beyond_fractions <= self.exceptions:
            if len(self.odds) >= LEAST_BOXES and sum(self.odds.values()) >= LEAST_LOG_ODDS:
                return BoxFormat(self._layout_of_fractions(), True, self.count, self.first)
            return BoxFormat(count=self.count)
        few = len(self.wrong) < MANY_BOXES
        if len(self.wrong) < LEAST_BOXES or self.wrong_count < LEAST_SHARE * self.count or (few and self.confirmed):
            return BoxFormat(count=self.count)
        for layout, misfits in self.misfits.items():
            if misfits <= self.exceptions:
                return BoxFormat(layout, False, self.count, next(iter(self.wrong.values())))
        return BoxFormat(count=self.count)

    def _layout_of_fractions(self) -> str:
        """Return the layout if one fits and each other one fails on several boxes, else ""."""
        fitting = [layout for layout, misfits in self.unit_misfits.items() if not misfits]
        others = [misfits for misfits in self.unit_misfits.values() if misfits]
        sure = len(fitting) == 1 and min(others, default=0) >= LEAST_BOXES
        return fitting[0] if sure else ""


def corners(box: Box, layout: str) -> Box:
    """Return x0, y0, x1, y1 of a box of a layout."""
    a, b, c, d = box
    if layout == "xyxy":
        return a, b, c, d
    if layout == "cxcywh":
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return a, b, a + c, b + d


def _fits(box: Box, layout: str, width: float, height: float, tolerance: float) -> bool:
    """Return whether a box has an area within its image, when it is read in a layout."""
    x0, y0, x1, y1 = corners(box, layout)
    return x0 < x1 <= width + tolerance and y0 < y1 <= height + tolerance and min(x0, y0) >= -tolerance


def image_sizes(images: Any) -> dict[Any, tuple[float, float]]:
    """Return (width, height) by id of the images of a json, however broken other entries are."""
    sizes: dict[Any, tuple[float, float]] = {}
    for image in images if isinstance(images, list) else ():
        if isinstance(image, dict) and _can_be_id(image.get("id")):
            width, height = image.get("width"), image.get("height")
            if width is not None and height is not None and _is_number(width) and _is_number(height):
                sizes[image["id"]] = (width, height)
    return sizes


def annotated_boxes(images: Any, annotations: Any) -> Iterator[Annotated]:
    """Yield the boxes of a json that `find_box_format` can use, however broken other entries are."""
    sizes = image_sizes(images)
    for position, entry in enumerate(annotations if isinstance(annotations, list) else ()):
        if isinstance(entry, dict) and _can_be_id(entry.get("image_id")) and entry["image_id"] in sizes:
            box, area = entry.get("bbox"), entry.get("area")
            if isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)):
                label = entry["id"] if _can_be_id(entry.get("id")) else position
                yield Annotated(label, box, *sizes[entry["image_id"]], area if _is_number(area) else None)


def _can_be_id(value: Any) -> bool:
    return isinstance(value, int | float | str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
