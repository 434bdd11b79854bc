"""Validation of a COCO json before training: all problems in one report, with ids.

Errors are problems of structure that cannot be repaired; single bad boxes are repaired by `repair_box`, and `data.coco`
counts and logs the repairs.

Format: https://cocodataset.org/#format-data (object detection).
"""

import collections
import math
import reprlib
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from querydet.data.box_format import find_box_format, mostly_outside
from querydet.data.categories import left_out, used_ids
from querydet.data.entries import as_id, is_id, is_number
from querydet.data.file_names import FolderIndex, fault_of
from querydet.data.foreign_formats import describe
from querydet.data.image_lists import check_image_lists
from querydet.data.mask_checks import OutlineReader
from querydet.data.outline_conflict import OUTLINES, find_conflict
from querydet.data.problem_report import ProblemReport
from querydet.data.shifted_ids import category_shift, image_shift

REPAIR_HINT = (
    "querydet check-data --annotations FILE --images FOLDER lists everything; with --write-fixed NEW.json it repairs "
    "what has one possible meaning."
)
ROUNDING_PX = 1.0  # COCO's own boxes leave the image by rounding to two decimals; such boxes are not changed
BOX_REPAIRS = {  # what is wrong with a box, what becomes of it, and what the log says of all such boxes
    "clipped": ("box leaves its image", "clipped to the image", "reached outside their image and were clipped"),
    "outside": ("box lies outside its image", "dropped", "lay outside their image and were dropped"),
    "empty": ("box of zero or negative size", "dropped", "had zero or negative size and were dropped"),
    "nonfinite": ("box is NaN or infinite", "dropped", "were NaN or infinite and were dropped"),
}
MAX_SIDE_PX = 2**31  # limit of image libraries; rejects sizes that would overflow later


def find_problems(
    content: Any,
    source: str,
    images: str = "",
    need_annotations: bool = True,
    check_boxes: bool = True,
    outlines: OutlineReader | None = None,
    image_lists: Sequence[str] = (),
) -> ProblemReport:
    """Find all problems of the structure of a parsed COCO json.

    They are missing lists, ids that are missing, no integers or used twice, missing sizes or file names, file names
    that leave the image folder, unknown image or category ids, boxes that are not four numbers or of another format,
    and outlines that cannot be used.

    Args:
        content: the parsed file.
        source: its path, for messages.
        images: folder of the images, to suggest the file that a wrong name may mean; "": nothing is suggested.
        need_annotations: whether a file that lists images alone is refused, as COCO's test-dev.
        check_boxes: whether boxes are refused that are not x, y, width, height in pixels (`data.box_format`).
        outlines: reads the outlines, where masks are used; None leaves them alone.
        image_lists: keys of the images that have to be lists of category ids.
    """
    report = ProblemReport(source)
    if not isinstance(content, dict):
        report.add("not a COCO json, the top level must be an object", describe(content))
        return report
    check_lists(content, need_annotations, report)
    if report.kinds:
        if not content.keys() & {"images", "annotations", "categories"}:
            report.add("not a COCO json", describe(content))
        return report
    for key in ("images", "categories"):
        if not content[key]:
            report.add("empty list", f"'{key}'")
    annotations = content.get("annotations", [])
    image_ids = check_images(enumerate(content["images"]), images, report)
    category_ids = check_categories(content["categories"], used_ids(annotations), report)
    check_image_lists(content["images"], image_lists, category_ids, report, needed="annotations" in content)
    if outlines is not None:
        outlines.read(content, report)
    known = KnownIds.of(content, image_ids, category_ids)
    check_annotations(
        enumerate(annotations), known, check_shifts(content, report), report, outlines.boxes if outlines else ()
    )
    if check_boxes:
        check_boxes_together(content["images"], annotations, report)
    return report


def check_boxes_together(images: list[Any], annotations: list[Any], report: ProblemReport) -> None:
    """Report boxes that are, as a whole, not x, y, width, height in pixels.

    Args:
        images: of the json, at least those of the annotations.
        annotations: of the json, all or an even choice of them.
        report: gets the problems, and has those that were found before.
    """
    found = find_box_format(images, annotations)
    if not found.is_coco:
        report.add(found.fault(), f"all boxes together, annotation {found.first} for one. {found.remedy()}")
    elif (conflict := find_conflict(images, annotations)) and conflict.right == OUTLINES:
        report.add(conflict.fault(), f"all boxes together, annotation {conflict.first} for one. {conflict.remedy()}")
    elif not report.kinds and (place := mostly_outside(images, annotations)):
        report.add("most boxes lie outside of their images or reach beyond them", place)


def check_lists(content: dict[str, Any], need_annotations: bool, report: ProblemReport) -> None:
    """Report lists of the top level that are missing or no lists."""
    for key in ("images", "annotations", "categories"):
        if isinstance(content.get(key), list):
            continue
        if key in content:
            report.add("no list at the top level", f"'{key}' is {type(content[key]).__name__}")
        elif key != "annotations":
            report.add("missing list at the top level", f"'{key}'")
        elif need_annotations:
            more = " (the file lists images alone, as COCO's test-dev: it can be evaluated, not trained on)"
            report.add(
                "missing list at the top level", f"'{key}'{more if isinstance(content.get('images'), list) else ''}"
            )


def repair_box(box: Iterable[float], width: int, height: int) -> tuple[list[float] | None, str]:
    """Repair one annotated box.

    Args:
        box: (x, y, w, h) in pixels.
        width: image width in pixels.
        height: image height in pixels.

    Returns:
        The box to use, or None if it has to be dropped, and the repair: "" for none, or a key of `BOX_REPAIRS`; boxes
        that leave the image by `ROUNDING_PX` or less are not clipped.
    """
    try:
        x, y, w, h = (float(value) for value in box)
    except OverflowError:  # a json integer of hundreds of digits
        return None, "nonfinite"
    if not all(math.isfinite(value) for value in (x, y, w, h, x + w, y + h)):
        return None, "nonfinite"
    if w <= 0 or h <= 0:
        return None, "empty"
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if x0 >= x1 or y0 >= y1:
        return None, "outside"
    if max(x0 - x, y0 - y, x + w - x1, y + h - y1) > ROUNDING_PX:
        return [x0, y0, x1 - x0, y1 - y0], "clipped"
    return [x, y, w, h], ""


def _texts_and_floats(entries: list[Any]) -> set[Any]:
    """Return the ids that are no integers."""
    ids = (entry.get("id") for entry in entries if isinstance(entry, dict))
    return {value for value in ids if isinstance(value, str | float)}


def _entries(
    entries: Iterable[tuple[int, Any]], kind: str, report: ProblemReport
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (label for messages, entry) for every entry with a valid id that was not seen before."""
    seen = set()
    for position, entry in entries:
        if not isinstance(entry, dict) or not is_id(entry.get("id")):
            if isinstance(entry, dict):
                value = entry.get("id", "no id")
                report.add(f"{kind} id is not an integer", f"entry {position} ({reprlib.repr(value)})")
            else:
                report.add(f"{kind} is no object with an id", f"entry {position} ({reprlib.repr(entry)})")
            continue
        if entry["id"] in seen:
            report.add(f"{kind} id is used twice", str(entry["id"]))
            continue
        seen.add(entry["id"])
        yield f"{kind} {entry['id']}", entry


def check_images(images: Iterable[tuple[int, Any]], folder: str, report: ProblemReport) -> set[int]:
    """Report what is wrong with images.

    Args:
        images: of the json, each with its position in the list.
        folder: of the images; "": no other name is suggested for a wrong one.
        report: gets the problems.

    Returns:
        The ids of those that have one.
    """
    ids = set()
    index = FolderIndex(folder)
    for label, image in _entries(images, "image", report):
        ids.add(image["id"])
        for key in ("width", "height"):
            size = image.get(key)
            if not is_number(size) or not (0 < size < MAX_SIDE_PX and size % 1 == 0):
                report.add(f"{key} is missing or not a positive integer", f"{label} ({reprlib.repr(size)})")
        file_name = image.get("file_name")
        fault = fault_of(file_name, folder)
        if fault:
            hint = index.hint(file_name) if folder else ""
            report.add(fault, label if not file_name else f"{label} ({reprlib.repr(file_name)}){hint}")
    return ids


def check_categories(categories: list[Any], used: collections.Counter[Any], report: ProblemReport) -> set[int]:
    """Report what is wrong with categories.

    Args:
        categories: of the json.
        used: see `categories.used_ids`.
        report: gets the problems.

    Returns:
        The ids of those that have one.
    """
    ids, names = set(), set()
    entries = list(_entries(enumerate(categories), "category", report))
    ignored = left_out([category for _, category in entries], used)
    for label, category in entries:
        ids.add(category["id"])
        name = category.get("name")
        if name is None or name == "":
            report.add("name is missing", label)
        elif not isinstance(name, str):
            report.add("name is no text", f"{label} ({reprlib.repr(name)})")
        elif category["id"] in ignored:
            continue
        elif name in names:
            report.add("category name is used twice", f"{label} ({reprlib.repr(name)})")
        else:
            names.add(name)
    return ids


def check_shifts(content: dict[str, Any], report: ProblemReport) -> set[str]:
    """Report ids that count from another number than the list that they refer to; return their keys."""
    annotations = content.get("annotations", [])
    shifts = {
        "category_id": category_shift(content["categories"], annotations),
        "image_id": image_shift(content["images"], annotations),
    }
    for key, shift in shifts.items():
        if shift:
            report.add(f"{key} is {shift.rule}", f"all annotations together. {shift.remedy()}")
    return {key for key, shift in shifts.items() if shift}


class KnownIds(NamedTuple):
    """The ids of the images and categories of a json, by the key of an annotation that refers to them."""

    ids: dict[str, Container[int]]
    others: dict[str, set[Any]]  # texts and floats, which are no ids

    @classmethod
    def of(cls, content: dict[str, Any], image_ids: Container[int], category_ids: Container[int]) -> "KnownIds":
        """Return the ids of a json, of which integers are known already."""
        others = {
            "image_id": _texts_and_floats(content["images"]),
            "category_id": _texts_and_floats(content["categories"]),
        }
        return cls({"image_id": image_ids, "category_id": category_ids}, others)


def check_annotations(
    annotations: Iterable[tuple[int, Any]],
    known: KnownIds,
    shifted: Container[str],
    report: ProblemReport,
    with_box_of_outline: Container[int] = (),
) -> None:
    """Report what is wrong with annotations.

    Args:
        annotations: of the json, each with its position in the list.
        known: ids that they may refer to.
        shifted: keys that are reported already, see `check_shifts`.
        report: gets the problems.
        with_box_of_outline: ids of annotations whose own box is not used.
    """
    for label, annotation in _entries(annotations, "annotation", report):
        for key, ids in known.ids.items():
            value = annotation.get(key)
            if (is_id(value) and value in ids) or key in shifted:
                continue
            is_meant = isinstance(value, str | float) and (as_id(value) in ids or value in known.others[key])
            kind = f"{key} is not an integer" if is_meant else f"unknown {key}"
            if value is None:
                kind = f"{key} is missing"
            report.add(kind, f"{label} ({reprlib.repr(value)})")
        if annotation.get("iscrowd", 0) not in (0, 1):
            report.add("iscrowd is neither 0 nor 1", f"{label} ({reprlib.repr(annotation['iscrowd'])})")
        box = annotation.get("bbox")
        if annotation["id"] in with_box_of_outline:
            continue
        if not isinstance(box, list) or len(box) != 4 or not all(is_number(value) for value in box):
            report.add("bbox is not a list of four numbers", f"{label} ({reprlib.repr(box)})")
