"""Boxes that contradict the outlines (polygons, masks) of their own annotations, in one way throughout a file.

A box and its outline rarely agree to the pixel, and may differ for good reason: boxes of whole bodies around outlines
of what is visible, boxes with a margin, outlines of parts. They are called wrong only where hardly any box is that of
its outline, and one rule makes nearly all of them so: numbers in another order, another scale, a shift. Which of the
two is wrong is then read from the images: what is right lies within them, and all over them.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from querydet.data.box_format import LAYOUTS, Box, corners
from querydet.data.outlines import Outlined, have_fractions, outlined_boxes

LEAST_BOXES = 5  # different ones that a rule has to explain
LEAST_EXPLAINED = 0.9  # share of the boxes that a rule has to explain
MOST_AGREEING = 0.5  # share of the boxes that may agree with their outlines by chance
TOLERANCE_PX, TOLERANCE = 2.0, 0.05  # by which sides of a box and of its outline differ: pixels, and share of the side
MANY_BOXES = 10  # that have to lie apart from their outlines, where no rule explains it
EXCEPTIONS = 0.01  # share of the boxes that may be mistakes of another kind
FILLED, CONFINED = 0.8, 0.6  # shares of the images' sides that coordinates of the right and of too small a scale reach
ORDERS = {
    **LAYOUTS,
    "yxhw": "y, x, height, width",
    "yxyx": "corners y0, x0, y1, x1",
    "upward": "x, y, width, height from the lower left corner of the image",
}
KNOWN_FRAMES = {100.0, 1000.0}  # percent, and thousandths, the unit of several models that draw boxes
CORNERS = ("xyxy", "yxyx")
OUTLINES, BOXES, UNKNOWN = "outlines", "boxes", ""  # which of the two are right


@dataclass(frozen=True)
class Conflict:
    """How the boxes of a file differ from their outlines.

    Args:
        order: key of `ORDERS`: what the four numbers are.
        unit: "pixels" of the image; "scaled" by `scale`; "framed": as if every image were of the size `scale`; or
            "shifted" by `shift`; "" where nothing explains the difference.
        scale: of x and y.
        shift: in x and y, in pixels.
        first: annotation of the first box that differs.
        right: `OUTLINES`, `BOXES` or `UNKNOWN`.
    """

    order: str = "xywh"
    unit: str = ""
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    first: str | int = ""
    right: str = UNKNOWN

    def corners(self, box: Box, width: float, height: float) -> Box:
        """Return x0, y0, x1, y1 in pixels of the image that a box of the file means, if the outlines are right."""
        x0, y0, x1, y1 = _ordered(box, self.order, width, height)
        x_unit, y_unit = self.units(width, height)
        dx, dy = self.shift
        return (x0 - dx) / x_unit, (y0 - dy) / y_unit, (x1 - dx) / x_unit, (y1 - dy) / y_unit

    def units(self, width: float, height: float) -> tuple[float, float]:
        """Return the numbers of the boxes, in x and y, that are a pixel of an image."""
        x, y = self.scale
        return (x / width, y / height) if self.unit == "framed" else (x, y)

    def convert(self, box: Box, outline: Box | None, width: float, height: float) -> list[float]:
        """Convert a box to x, y, width, height: of its outline x0, y0, x1, y1 if it has one that explains it."""
        x0, y0, x1, y1 = self.corners(box, width, height)
        if outline is not None and _agrees(Outlined("", box, outline, width, height), self):
            x0, y0, x1, y1 = outline
        return [round(value, 3) for value in (x0, y0, x1 - x0, y1 - y0)]

    def fault(self) -> str:
        """Return the fault in words."""
        parts = []
        if self.order != "xywh":
            parts.append(f"have {ORDERS[self.order]} instead of x, y, width, height")
        if self.unit == "scaled":
            parts.append(f"are of a scale of {self.scale[0]:.3g}, {self.scale[1]:.3g} to 1")
        elif self.unit == "framed":
            parts.append(f"are those of images of {self.scale[0]:.4g} x {self.scale[1]:.4g}")
        elif self.unit == "shifted":
            parts.append(f"are shifted by {self.shift[0]:.4g}, {self.shift[1]:.4g} pixels")
        elif not self.unit:
            parts.append("lie elsewhere, by no rule")
        return f"bbox contradicts segmentation: the boxes {' and '.join(parts)}"

    def remedy(self, masks: bool = False) -> str:
        """Return what to do about it.

        Args:
            masks: whether the outlines are trained on.
        """
        if self.right == OUTLINES:
            way = "check-data --write-fixed converts the boxes"
        elif masks:
            wrong = "the boxes fit the images, the outlines do not" if self.right == BOXES else "one of them is wrong"
            way = f"{wrong}: look at some, correct your exporter, or set dataset.masks=False to use the boxes alone"
        elif self.right == BOXES:
            return "the boxes fit the images and are used; segmentation is not read"
        else:
            return "boxes are used as they are: look at some, and correct what is wrong in your exporter"
        return f"{way}; dataset.check_boxes=False takes them as they are"


def find_conflict(images: Any, annotations: Any) -> Conflict | None:
    """Recognise boxes that contradict their outlines throughout a file; None where they do not, or nothing is sure.

    Args:
        images: of the json; entries that are no images are passed over.
        annotations: of the json.
    """
    pairs = list(outlined_boxes(images, annotations))
    if have_fractions(images, annotations):
        pairs = [_in_pixels(pair) for pair in pairs]
    apart = [pair for pair in pairs if not _agrees(pair, Conflict(unit="pixels"))]
    if len({pair.box for pair in apart}) < LEAST_BOXES or len(apart) < (1 - MOST_AGREEING) * len(pairs):
        return None
    for unit in ("pixels", "scaled", "framed", "shifted"):
        for order in ORDERS:
            rule = _fit(pairs, order, unit)
            if rule and sum(_agrees(pair, rule) for pair in pairs) >= LEAST_EXPLAINED * len(pairs):
                found = {"scale": rule.scale, "shift": rule.shift, "first": apart[0].label}
                right = OUTLINES if _is_known_frame(pairs, rule) else _right(pairs, order, unit)
                return Conflict(order, unit, right=right, **found)  # type: ignore[arg-type]
    disjoint = [pair for pair in apart if _is_disjoint(_ordered(pair.box, "xywh", 0, 0), pair.outline)]
    if len({pair.box for pair in disjoint}) < MANY_BOXES or len(disjoint) < LEAST_EXPLAINED * len(pairs):
        return None
    return Conflict(first=disjoint[0].label)


def _in_pixels(pair: Outlined) -> Outlined:
    """Return a pair of which the outline is a fraction of the image with one in pixels."""
    x0, y0, x1, y1 = pair.outline
    w, h = pair.width, pair.height
    return pair._replace(outline=(x0 * w, y0 * h, x1 * w, y1 * h))


def _ordered(box: Box, order: str, width: float, height: float) -> Box:
    """Return x0, y0, x1, y1 of a box of an order, in its own unit."""
    a, b, c, d = box
    if order == "yxhw":
        return b, a, b + d, a + c
    if order == "yxyx":
        return b, a, d, c
    if order == "upward":
        return a, height - b - d, a + c, height - b
    return corners(box, order)


def _fit(pairs: Sequence[Outlined], order: str, unit: str) -> Conflict | None:
    """Return the rule of an order and a unit that fits the boxes to their outlines; None where there is none."""
    if unit == "pixels":
        return Conflict(order, unit)
    if order == "upward":
        return None  # needs the height of the images in the unit of the boxes
    boxes = [_ordered(pair.box, order, pair.width, pair.height) for pair in pairs]
    if unit == "shifted":
        shifts = [
            statistics.median(box[axis] - pair.outline[axis] for box, pair in zip(boxes, pairs, strict=True))
            for axis in (0, 1)
        ]
        return Conflict(order, unit, shift=(shifts[0], shifts[1]))
    scales = []
    for axis in (0, 1):
        ratios = [
            (box[axis + 2] - box[axis]) / (pair.outline[axis + 2] - pair.outline[axis])
            for box, pair in zip(boxes, pairs, strict=True)
        ]
        sides = [(pair.width, pair.height)[axis] if unit == "framed" else 1.0 for pair in pairs]
        scales.append(_snapped(statistics.median(r * side for r, side in zip(ratios, sides, strict=True))))
    return Conflict(order, unit, scale=(scales[0], scales[1])) if min(scales) > 0 else None


def _snapped(number: float) -> float:
    """Return the whole number of which a measured one is an estimate, where it is close to one."""
    return float(round(number)) if abs(number - round(number)) <= 0.005 * number else number


def _agrees(pair: Outlined, rule: Conflict) -> bool:
    """Return whether a box is that of its outline, when it is read by a rule."""
    box, outline = rule.corners(pair.box, pair.width, pair.height), pair.outline
    units = rule.units(pair.width, pair.height)
    for axis in (0, 1):
        side = outline[axis + 2] - outline[axis]
        # in the larger unit of the two: else everything would agree with outlines within a pixel
        tolerance = TOLERANCE_PX / max(1.0, units[axis]) + TOLERANCE * side
        if box[axis + 2] <= box[axis]:
            return False
        if abs(box[axis] - outline[axis]) > tolerance or abs(box[axis + 2] - outline[axis + 2]) > tolerance:
            return False
    return True


def _is_known_frame(pairs: Sequence[Outlined], rule: Conflict) -> bool:
    """Return whether boxes are percent or thousandths of images that are not all squares."""
    frames = set()
    for pair in pairs:
        x, y = rule.units(pair.width, pair.height)
        frames |= {_snapped(x * pair.width), _snapped(y * pair.height)}
    return (
        rule.unit != "shifted"
        and len(frames) == 1
        and frames <= KNOWN_FRAMES
        and any(pair.width != pair.height for pair in pairs)
        and _fit_images([(pair.outline, pair) for pair in pairs])
    )


def _right(pairs: Sequence[Outlined], order: str, unit: str) -> str:
    """Return which are right, the boxes or the outlines."""
    if unit == "pixels" and order in CORNERS:
        return OUTLINES  # right boxes have no smaller first than third number throughout
    boxes = [(_ordered(pair.box, "xywh", pair.width, pair.height), pair) for pair in pairs]
    outlines = [(pair.outline, pair) for pair in pairs]
    boxes_fit, outlines_fit = _fit_images(boxes), _fit_images(outlines)
    if boxes_fit != outlines_fit:
        return BOXES if boxes_fit else OUTLINES
    boxes_reach, outlines_reach = _reach(boxes), _reach(outlines)
    if boxes_fit and order == "xywh" and max(boxes_reach) < CONFINED and min(outlines_reach) > FILLED:
        return OUTLINES
    if boxes_fit and max(outlines_reach) < CONFINED and min(boxes_reach) > FILLED:
        return BOXES
    return UNKNOWN


def _fit_images(shapes: Sequence[tuple[Box, Outlined]]) -> bool:
    """Return whether shapes lie within their images."""
    leaving = sum(
        min(x0, y0) < -TOLERANCE_PX or x1 > pair.width + TOLERANCE_PX or y1 > pair.height + TOLERANCE_PX
        for (x0, y0, x1, y1), pair in shapes
    )
    return leaving <= EXCEPTIONS * len(shapes)


def _reach(shapes: Sequence[tuple[Box, Outlined]]) -> tuple[float, float]:
    """Return the largest x and y of shapes, in sides of their images."""
    return max(shape[2] / pair.width for shape, pair in shapes), max(shape[3] / pair.height for shape, pair in shapes)


def _is_disjoint(one: Box, other: Box) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
