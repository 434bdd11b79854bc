"""COCO-format data sets from two paths: the annotation json and the image folder.

Differs from Detectron2's `load_coco_json`: the json is checked first, and all problems are reported together
(`data.coco_checks`); class names come from the json; gaps in the category ids need no mapping by hand; images without
objects are kept; bad boxes are repaired and counted; classes can be matched by name with those of other data
(`data.categories`); masks are read where they are asked for (`data.mask_checks`). Keypoints are not read.
"""

import collections
import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

from detectron2.structures import BoxMode

from querydet.data.catalog import DetectionDataset, default_name, register
from querydet.data.categories import Classes, find_classes
from querydet.data.coco_checks import REPAIR_HINT, find_problems, read_json, repair_box
from querydet.data.entries import as_number, is_crowd, is_ignored
from querydet.data.file_names import FolderIndex
from querydet.data.mask_checks import MASK_REPAIRS, OutlineReader
from querydet.data.mask_targets import HAS_MASKS
from querydet.data.outline_conflict import OUTLINES, find_conflict
from querydet.data.problem_report import ProblemReport

logger = logging.getLogger(__name__)

MAX_AREA = 2.0**62  # square pixels of the largest image; also rejects integers that overflow a float
REPAIRS = {
    "clipped": "reached outside their image and were clipped",
    "outside": "lay outside their image and were dropped",
    "empty": "had zero or negative size and were dropped",
    "nonfinite": "were NaN or infinite and were dropped",
}


def load_coco(
    annotations: str,
    images: str,
    name: str | None = None,
    check_files: bool = True,
    check_boxes: bool = True,
    classes: Sequence[str] | None = None,
    need_annotations: bool = True,
    masks: bool = False,
) -> DetectionDataset:
    """Load, check and register a COCO-format data set.

    Boxes are repaired: NaN, infinite and empty boxes and those outside of the image are dropped, boxes that leave the
    image by more than a pixel are clipped; the counts are logged once. Crowd regions are kept for the evaluation.

    Args:
        annotations: path of the annotation json.
        images: path of the image folder that the json's file names are relative to.
        name: name in Detectron2's catalogs; derived from both paths if None.
        check_files: raise when image files are missing; False leaves missing images to the mapper's `on_bad_image`.
        check_boxes: raise when the boxes as a whole are not x, y, width, height in pixels (`data.box_format`); False
            takes them as they are.
        classes: class names in the order of another data set, that of the training; categories are matched with them
            by name. None: the categories in the order of their ids.
        need_annotations: raise when the json lists images alone, as COCO's test-dev.
        masks: read and check `segmentation` too. Objects without an outline, or with one outside of the image or apart
            from the box, are then dropped and counted, and a box that is missing is that of the outline.

    Returns:
        One dict per image in the order of the json: `file_name, height, width, image_id, annotations` with
        `bbox` (x, y, w, h), `bbox_mode`, contiguous `category_id`, `iscrowd`, `area` and `id`; with `masks` also
        `segmentation`: a list of polygons, float64 arrays x0, y0, x1, y1, ..., or run lengths with a text as counts;
        and `has_masks` of the image.

    Raises:
        FileNotFoundError: the annotation file, the image folder or, with `check_files`, image files are missing.
        ValueError: the json is malformed (see `coco_checks.find_problems`), has annotations of other classes, or `name`
            is taken.
    """
    for key, path in (("annotations", annotations), ("images", images)):
        if path is None:
            raise ValueError(f"the data set has no {key}: set dataloader.{{train,test}}.dataset.{key} to a path")
    annotations, images = os.fspath(annotations), os.fspath(images)
    wanted = None if classes is None else tuple(classes)
    options = (wanted, bool(need_annotations), bool(check_boxes), bool(masks))
    dicts, found, annotated = _parse(annotations, images, _file_stamp(annotations), *options)
    if check_files:
        _check_files(annotations, images, [record["file_name"] for record in dicts])
    name = name or default_name(annotations, images, found.names if found.is_matched else ()) + "_masks" * bool(masks)
    load = functools.partial(
        load_coco, annotations, images, name, check_files, check_boxes, wanted, need_annotations, masks
    )
    register(name, load, found.names, found.index_of, found.absent, json_file=annotations, image_root=images)
    return DetectionDataset(dicts, name, annotated)


def _file_stamp(path: str) -> tuple[int, int]:
    """Return a stamp that changes when the file changes; a missing file is reported by the reader."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)  # train and val, each loaded by its loader, the evaluator and the visualization
def _parse(
    annotations: str,
    images: str,
    stamp: tuple[int, int],
    wanted: tuple[str, ...] | None,
    need_annotations: bool,
    check_boxes: bool,
    masks: bool,
) -> tuple[list[dict[str, Any]], Classes, bool]:
    """Read a json; return the dataset dicts, the classes, and whether the file has annotations."""
    content = read_json(annotations)
    outlines = OutlineReader(check_boxes) if masks else None
    problems = find_problems(content, annotations, images, need_annotations, check_boxes, outlines)
    problems.raise_if_any(REPAIR_HINT)
    entries = content.get("annotations", [])
    classes = find_classes(content["categories"], entries, wanted, annotations)
    for note in classes.notes:
        logger.warning("%s: %s", annotations, note)
    records = {
        image["id"]: {
            "file_name": os.path.join(images, image["file_name"]),
            "height": int(image["height"]),
            "width": int(image["width"]),
            "image_id": image["id"],
            "annotations": [],
            **({HAS_MASKS: True} if masks else {}),
        }
        for image in content["images"]
    }
    _add_objects(annotations, records, entries, classes.index_of, outlines)
    if ignored := sum(map(is_ignored, entries)):
        logger.warning(
            "%s: %d annotations have ignore=1 and count as crowd regions: they are not trained on, and detections in "
            "them are not counted in the evaluation",
            annotations,
            ignored,
        )
    if (conflict := find_conflict(content["images"], entries)) and conflict.right != OUTLINES:
        logger.warning("%s: %s. %s", annotations, conflict.fault(), conflict.remedy(masks))
    if "annotations" in content:
        _warn_if_empty(annotations, list(records.values()))
    return list(records.values()), classes, "annotations" in content


def _add_objects(
    source: str,
    records: dict[int, dict[str, Any]],
    entries: list[dict[str, Any]],
    index_of: dict[int, int],
    outlines: OutlineReader | None,
) -> None:
    """Add the annotations of a json to the dicts of their images, repaired, and log what was repaired."""
    repairs: dict[str, list[int]] = collections.defaultdict(list)
    for annotation in entries:
        record, number = records[annotation["image_id"]], annotation["id"]
        given = outlines.boxes.get(number) if outlines is not None else None
        box, repair = repair_box(annotation["bbox"] if given is None else given, record["width"], record["height"])
        if repair:
            repairs[repair].append(number)
        if box is None:
            continue
        item = _object(annotation, box, repair, index_of)
        if outlines is not None:
            item["segmentation"] = outlines.segmentations[number]
            if item["segmentation"] is None:
                continue
        record["annotations"].append(item)
    _log_repairs(source, "boxes", repairs, REPAIRS)
    if outlines is not None:
        words = {kind: what for kind, (_, what) in MASK_REPAIRS.items()}
        _log_repairs(source, "annotations", outlines.repairs, words)


def _warn_if_empty(source: str, records: list[dict[str, Any]]) -> None:
    crowds = [item["iscrowd"] for record in records for item in record["annotations"]]
    if not crowds:
        logger.warning("%s: no image has any object", source)
    elif all(crowds):
        logger.warning(
            "%s: all %d objects are crowd regions (iscrowd=1 or ignore=1), which are neither trained on nor counted in "
            "the evaluation: if they are single objects, set iscrowd and ignore to 0",
            source,
            len(crowds),
        )


def _object(annotation: dict[str, Any], box: list[float], repair: str, category_ids: dict[int, int]) -> dict[str, Any]:
    """Convert to a Detectron2 annotation; its area is COCO's, or that of the box if absent or repaired."""
    area = as_number(annotation.get("area"))
    if repair or not isinstance(area, int | float) or not 0 < area < MAX_AREA:
        area = box[2] * box[3]
    return {
        "bbox": box,
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": category_ids[annotation["category_id"]],
        "iscrowd": int(is_crowd(annotation)),
        "area": float(area),
        "id": annotation["id"],
    }


def _log_repairs(source: str, noun: str, repairs: dict[str, list[int]], words: dict[str, str]) -> None:
    for repair, ids in repairs.items():
        shown = ", ".join(str(identifier) for identifier in ids[:10]) + (", ..." if len(ids) > 10 else "")
        logger.warning("%s: %d %s %s (annotations %s)", source, len(ids), noun, words[repair], shown)


def _check_files(annotations: str, images: str, file_names: list[str]) -> None:
    if not os.path.isdir(images):
        raise FileNotFoundError(
            f"image folder {os.path.abspath(images)} does not exist: check dataloader.{{train,test}}.dataset.images"
        )
    missing = [name for name in file_names if not os.path.isfile(name)]
    if missing:
        report, index = ProblemReport(annotations), FolderIndex(images)
        for name in missing:
            hint = index.hint(os.path.relpath(name, images))
            report.add("image file does not exist", f"{name}{hint}")
        try:
            report.raise_if_any()
        except ValueError as error:
            raise FileNotFoundError(
                f"{error}\n  {REPAIR_HINT}\n  To train without them set dataloader.train.dataset.check_files=False and "
                "dataloader.train.mapper.on_bad_image=skip."
            ) from error
