"""COCO-format data sets from two paths: the annotation json and the image folder.

Differs from Detectron2's `load_coco_json`: the json is checked first, and all problems are reported together
(`data.coco_checks`); class names come from the json; gaps in the category ids need no mapping by hand; images without
objects are kept; bad boxes are repaired and counted. Masks and keypoints are not read.
"""

import collections
import functools
import logging
import os
from typing import Any

from detectron2.structures import BoxMode

from querydet.data.catalog import DetectionDataset, default_name, register
from querydet.data.coco_checks import ProblemReport, check_coco, read_json, repair_box

logger = logging.getLogger(__name__)

MAX_AREA = 2.0**62  # square pixels of the largest image; also rejects integers that overflow a float
REPAIRS = {
    "clipped": "reached outside their image and were clipped",
    "outside": "lay outside their image and were dropped",
    "empty": "had zero or negative size and were dropped",
    "nonfinite": "were NaN or infinite and were dropped",
}


def load_coco(annotations: str, images: str, name: str | None = None, check_files: bool = True) -> DetectionDataset:
    """Load, check and register a COCO-format data set.

    Boxes are repaired: NaN, infinite and empty boxes and those outside of the image are dropped, boxes that leave the
    image by more than a pixel are clipped; the counts are logged once. Crowd regions are kept for the evaluation.

    Args:
        annotations: path of the annotation json.
        images: path of the image folder that the json's file names are relative to.
        name: name in Detectron2's catalogs; derived from both paths if None.
        check_files: raise when image files are missing; False leaves missing images to the mapper's `on_bad_image`.

    Returns:
        One dict per image in the order of the json: `file_name, height, width, image_id, annotations` with
        `bbox` (x, y, w, h), `bbox_mode`, contiguous `category_id`, `iscrowd`, `area` and `id`.

    Raises:
        FileNotFoundError: the annotation file, the image folder or, with `check_files`, image files are missing.
        ValueError: the json is malformed (see `coco_checks.check_coco`), or `name` is taken.
    """
    annotations, images = os.fspath(annotations), os.fspath(images)
    stamp = _file_stamp(annotations)
    dicts, classes, category_ids = _parse(annotations, images, stamp)
    if check_files:
        _check_files(annotations, images, [record["file_name"] for record in dicts])
    name = name or default_name(annotations, images)
    load = functools.partial(load_coco, annotations, images, name, check_files)
    register(name, load, classes, category_ids, json_file=annotations, image_root=images)
    return DetectionDataset(dicts, name)


def _file_stamp(path: str) -> tuple[int, int]:
    """Return a stamp that changes when the file changes; a missing file is reported by the reader."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)  # train and val, each loaded by its loader, the evaluator and the visualization
def _parse(
    annotations: str, images: str, stamp: tuple[int, int]
) -> tuple[list[dict[str, Any]], list[str], dict[int, int]]:
    content = read_json(annotations)
    check_coco(content, annotations)
    categories = sorted(content["categories"], key=_by_id)
    category_ids = {category["id"]: index for index, category in enumerate(categories)}
    records = {
        image["id"]: {
            "file_name": os.path.join(images, image["file_name"]),
            "height": int(image["height"]),
            "width": int(image["width"]),
            "image_id": image["id"],
            "annotations": [],
        }
        for image in content["images"]
    }
    repairs: dict[str, list[int]] = collections.defaultdict(list)
    for annotation in content["annotations"]:
        record = records[annotation["image_id"]]
        box, repair = repair_box(annotation["bbox"], record["width"], record["height"])
        if repair:
            repairs[repair].append(annotation["id"])
        if box is not None:
            record["annotations"].append(_object(annotation, box, repair, category_ids))
    _log_repairs(annotations, repairs)
    if not any(record["annotations"] for record in records.values()):
        logger.warning("%s: no image has any object", annotations)
    return list(records.values()), [category["name"] for category in categories], category_ids


def _by_id(category: dict[str, Any]) -> int:
    return category["id"]


def _object(annotation: dict[str, Any], box: list[float], repair: str, category_ids: dict[int, int]) -> dict[str, Any]:
    """Convert to a Detectron2 annotation; its area is COCO's, or that of the box if absent or repaired."""
    area = annotation.get("area")
    if repair or not isinstance(area, int | float) or not 0 < area < MAX_AREA:
        area = box[2] * box[3]
    return {
        "bbox": box,
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": category_ids[annotation["category_id"]],
        "iscrowd": int(annotation.get("iscrowd", 0)),
        "area": float(area),
        "id": annotation["id"],
    }


def _log_repairs(source: str, repairs: dict[str, list[int]]) -> None:
    for repair, ids in repairs.items():
        shown = ", ".join(str(identifier) for identifier in ids[:10]) + (", ..." if len(ids) > 10 else "")
        logger.warning("%s: %d boxes %s (annotations %s)", source, len(ids), REPAIRS[repair], shown)


def _check_files(annotations: str, images: str, file_names: list[str]) -> None:
    if not os.path.isdir(images):
        raise FileNotFoundError(
            f"image folder {os.path.abspath(images)} does not exist: check dataloader.{{train,test}}.dataset.images"
        )
    missing = [name for name in file_names if not os.path.isfile(name)]
    if missing:
        report = ProblemReport(annotations)
        for name in missing:
            report.add("image file does not exist", name)
        try:
            report.raise_if_any()
        except ValueError as error:
            raise FileNotFoundError(
                f"{error}\n  To train without them set dataloader.train.dataset.check_files=False and "
                "dataloader.train.mapper.on_bad_image=skip."
            ) from error
