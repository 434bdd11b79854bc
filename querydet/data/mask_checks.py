"""The outlines of a COCO json, read and checked together: what stops the run, and what is repaired and counted.

Single objects are treated as their boxes are (`coco_checks.repair_box`): what is no outline, or lies outside of the
image, drops its object; what may mean several things stops the run.
"""

import collections
import math
from collections.abc import Iterable
from typing import Any

from pycocotools import mask as coco_mask

from querydet.data.box_format import image_sizes
from querydet.data.entries import is_crowd, is_id, is_number
from querydet.data.masks import (
    BadOutlineError,
    Extent,
    Outline,
    Segmentation,
    box_of_extent,
    read_outline,
    to_run_lengths,
)
from querydet.data.outline_conflict import OUTLINES, TOLERANCE_PX, find_conflict
from querydet.data.outlines import have_fractions
from querydet.data.problem_report import ProblemReport
from querydet.utils.texts import shown

MASK_REPAIRS = {
    "none": ("outline is missing or empty", "had no outline and were dropped"),
    "outside": ("outline lies outside its image", "had outlines outside their image and were dropped"),
    "apart": ("outline lies apart from its box", "had outlines apart from their boxes and were dropped"),
    "points": ("polygon of fewer than three points", "had polygons of fewer than three points, which were left out"),
    "thin": ("outline covers no pixel", "have outlines that cover no pixel, and empty masks"),
    "box": ("box is missing or without area", "had no box with an area and were given that of their outline"),
    "region": ("crowd region without an outline", "are crowd regions without an outline and were given their box"),
}
THIN = 2.0  # pixels: outlines of a smaller side are looked at
NO_OUTLINES = "no annotation has an outline (segmentation)"
BOXES_ONLY = "dataset.masks=False trains and evaluates boxes alone"


class OutlineReader:
    """Reads the outlines of a json, and decides what becomes of each object.

    Args:
        check_boxes: whether outlines are compared with boxes.

    Attributes:
        segmentations: outlines by the id of their annotation; None for objects that are dropped.
        boxes: x, y, width, height of annotations whose own box is missing or has no area.
        repairs: ids of annotations by key of `MASK_REPAIRS`.
    """

    def __init__(self, check_boxes: bool = True) -> None:
        self._check_boxes = check_boxes
        self.segmentations: dict[int, Segmentation | None] = {}
        self.boxes: dict[int, list[float]] = {}
        self.repairs: dict[str, list[int]] = collections.defaultdict(list)
        self._objects = self._objects_without = 0  # crowd regions aside: all, and those without an outline

    def read(self, content: dict[str, Any], report: ProblemReport) -> None:
        """Read all outlines.

        Args:
            content: a COCO json whose lists are lists; entries without ids or sizes are passed over.
            report: gets what stops the run.
        """
        images, entries = content["images"], content.get("annotations", [])
        problems = len(report.kinds)
        self.read_entries(images, entries, report)
        if len(report.kinds) == problems:
            self.check_together(images, entries, report)

    def read_entries(self, images: list[Any], entries: Iterable[Any], report: ProblemReport) -> None:
        """Read the outlines of some annotations.

        Args:
            images: of the json, at least those of the annotations.
            entries: annotations of the json.
            report: gets what stops the run.
        """
        sizes, names = image_sizes(images), _names(images)
        for entry in entries:
            if not isinstance(entry, dict) or not is_id(entry.get("id")) or not is_id(entry.get("image_id")):
                continue
            width, height = sizes.get(entry["image_id"], (0, 0))
            if not (width > 0 and height > 0 and width % 1 == 0 and height % 1 == 0):
                continue  # reported as a problem of the image
            try:
                outline = read_outline(entry.get("segmentation"), int(height), int(width))
            except BadOutlineError as error:
                more = f" ({shown(error.detail)})" if error.detail else ""
                image = names.get(entry["image_id"], entry["image_id"])
                report.add(error.kind, f"annotation {entry['id']} of image {image}{more}")
                continue
            self._keep(entry, outline, int(height), int(width))

    def _keep(self, entry: dict[str, Any], outline: Outline, height: int, width: int) -> None:
        number, box = entry["id"], _box_with_area(entry.get("bbox"))
        segmentation, repair = outline.segmentation, ""
        if segmentation is None and box is not None and is_crowd(entry):
            (x0, y0, x1, y1), repair = box, "region"
            segmentation = read_outline([x0, y0, x1, y0, x1, y1, x0, y1], height, width).segmentation
        elif segmentation is None:
            repair = "none" if outline.extent is None else "outside"
        elif box is None and _may_have_box_of_outline(entry.get("bbox")) and outline.extent is not None:
            self.boxes[number], repair = box_of_extent(outline.extent, height, width), "box"
        elif self._check_boxes and box is not None and outline.extent is not None and _is_apart(box, outline.extent):
            segmentation, repair = None, "apart"
        self.segmentations[number] = segmentation
        if not is_crowd(entry):
            self._objects += 1
            self._objects_without += repair == "none"
        if repair:
            self.repairs[repair].append(number)
        if outline.left_out and segmentation is not None:
            self.repairs["points"].append(number)
        if segmentation is not None and _is_thin(outline.extent) and _is_empty(segmentation, height, width):
            self.repairs["thin"].append(number)

    def check_together(self, images: list[Any], entries: list[Any], report: ProblemReport) -> None:
        """Report what the outlines that were read say together.

        Args:
            images: of the json, at least those of the annotations.
            entries: annotations of the json, all or an even choice of them.
            report: gets what stops the run.
        """
        if self._objects and self._objects == self._objects_without:
            report.add(NO_OUTLINES, f"all {self._objects} objects together. {BOXES_ONLY}")
        elif self._check_boxes and have_fractions(images, entries):
            place = "all outlines together. check-data --write-fixed converts them"
            self.repairs.clear()  # which took them for pixels
            report.add("segmentation has fractions of the image (0 to 1) instead of pixels", place)
        elif self._check_boxes and (conflict := find_conflict(images, entries)) and conflict.right != OUTLINES:
            place = f"all boxes together, annotation {conflict.first} for one. {conflict.remedy(masks=True)}"
            report.add(conflict.fault(), place)


def _names(images: Any) -> dict[int, str]:
    """Return how messages name the images, by id."""
    return {
        image["id"]: f"{image['id']} ({shown(str(image.get('file_name')))})"
        for image in images
        if isinstance(image, dict) and is_id(image.get("id"))
    }


def _box_with_area(box: Any) -> Extent | None:
    """Return x0, y0, x1, y1 of a box of four numbers that has an area; else None."""
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return None
    try:
        x, y, w, h = map(float, box)
    except OverflowError:
        return None
    has_area = all(map(math.isfinite, (x, y, x + w, y + h))) and w > 0 and h > 0
    return (x, y, x + w, y + h) if has_area else None


def _may_have_box_of_outline(box: Any) -> bool:
    """Return whether a box is missing, or is four numbers; other values are reported as problems."""
    return box is None or box == [] or (isinstance(box, list) and len(box) == 4 and all(map(is_number, box)))


def _is_thin(extent: Extent | None) -> bool:
    return extent is not None and min(extent[2] - extent[0], extent[3] - extent[1]) < THIN


def _is_empty(segmentation: Segmentation, height: int, width: int) -> bool:
    return not coco_mask.area(to_run_lengths(segmentation, height, width))


def _is_apart(box: Extent, outline: Extent) -> bool:
    gap_x = max(outline[0] - box[2], box[0] - outline[2])
    gap_y = max(outline[1] - box[3], box[1] - outline[3])
    return max(gap_x, gap_y) > TOLERANCE_PX
