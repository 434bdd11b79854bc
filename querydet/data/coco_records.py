"""The records of a COCO json: checked, repaired, and converted to Detectron2's dataset dicts."""

import collections
import functools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detectron2.structures import BoxMode

from querydet.data.categories import Classes, find_classes, used_ids
from querydet.data.coco_checks import BOX_REPAIRS, REPAIR_HINT, find_problems, repair_box
from querydet.data.entries import as_number, is_crowd, is_ignored
from querydet.data.image_lists import class_lists
from querydet.data.image_paths import check_rule, set_file_names
from querydet.data.json_file import read_json
from querydet.data.mask_checks import MASK_REPAIRS, OutlineReader
from querydet.data.mask_targets import HAS_MASKS
from querydet.data.outline_conflict import OUTLINES, find_conflict

logger = logging.getLogger(__name__)

MAX_AREA = 2.0**62  # square pixels of the largest image; also rejects integers that overflow a float
IGNORED = (
    "{} annotations have ignore=1 and count as crowd regions: they are not trained on, and detections in them are not "
    "counted in the evaluation"
)
REPAIRS = {repair: words for repair, (_, _, words) in BOX_REPAIRS.items()}


@dataclass(frozen=True)
class ReadingRules:
    """What decides on the records of a json, besides the file itself; see `coco.load_coco`.

    Raises:
        ValueError: the rule of file names is unknown.
    """

    classes: tuple[str, ...] | None = None
    need_annotations: bool = True
    check_boxes: bool = True
    masks: bool = False
    file_names: str = "auto"
    image_lists: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_rule(self.file_names)


@dataclass(frozen=True)
class Loaded:
    """What was read from a json.

    Args:
        records: one dataset dict per image.
        classes: of the data set.
        annotated: whether the file has annotations.
        notes: what was repaired and what is unusual, for the log.
        repairs: of columns, ids of annotations: of "boxes" by the key of `REPAIRS`, and of "outlines" by that of
            `mask_checks.MASK_REPAIRS`.
        oddities: of columns, those of the notes that are about the file as a whole.
    """

    records: Sequence[dict[str, Any]]
    classes: Classes
    annotated: bool
    notes: tuple[str, ...] = ()
    repairs: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    oddities: tuple[str, ...] = ()


def read_records(annotations: str, images: str, rules: ReadingRules) -> Loaded:
    """Read a json; unchanged files are read once.

    Args:
        annotations: path of the json.
        images: folder of the images.
        rules: how it is read.

    Raises:
        FileNotFoundError: the json does not exist.
        ValueError: it cannot be used, or changed while it was read.
    """
    stamp = file_stamp(annotations)
    loaded = _parse(annotations, images, stamp, rules)
    if file_stamp(annotations) != stamp:
        raise ValueError(f"{annotations} changed while it was read: start again when it is complete")
    return loaded


def file_stamp(path: str) -> tuple[int, ...]:
    """Return a stamp that changes when the file changes; a missing file is reported by the reader."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@functools.lru_cache(maxsize=4)  # train and val, each loaded by its loader, the evaluator and the visualization
def _parse(annotations: str, images: str, stamp: tuple[int, ...], rules: ReadingRules) -> Loaded:
    content = read_json(annotations)
    if isinstance(content, dict):
        set_file_names(content.get("images"), rules.file_names)
    outlines = OutlineReader(rules.check_boxes) if rules.masks else None
    problems = find_problems(
        content, annotations, images, rules.need_annotations, rules.check_boxes, outlines, rules.image_lists
    )
    problems.raise_if_any(REPAIR_HINT)
    entries = content.get("annotations", [])
    classes = find_classes(content["categories"], used_ids(entries), rules.classes, annotations)
    records = {
        image["id"]: {
            "file_name": os.path.join(images, image["file_name"]),
            "height": int(image["height"]),
            "width": int(image["width"]),
            "image_id": image["id"],
            "annotations": [],
            **({HAS_MASKS: True} if rules.masks else {}),
            **class_lists(image, rules.image_lists, classes.index_of),
        }
        for image in content["images"]
    }
    notes = [*classes.notes, *_add_objects(records, entries, classes.index_of, outlines)]
    if ignored := sum(map(is_ignored, entries)):
        notes.append(IGNORED.format(ignored))
    if (conflict := find_conflict(content["images"], entries)) and conflict.right != OUTLINES:
        notes.append(f"{conflict.fault()}. {conflict.remedy(rules.masks)}")
    if "annotations" in content:
        crowds = [item["iscrowd"] for record in records.values() for item in record["annotations"]]
        notes += emptiness(len(crowds), sum(crowds))
    for note in notes:
        logger.warning("%s: %s", annotations, note)
    return Loaded(tuple(records.values()), classes, "annotations" in content, tuple(notes))


def _add_objects(
    records: dict[int, dict[str, Any]],
    entries: list[dict[str, Any]],
    index_of: dict[int, int],
    outlines: OutlineReader | None,
) -> list[str]:
    """Add the annotations of a json to the dicts of their images, repaired; say what was repaired."""
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
    notes = repair_notes("boxes", repairs, REPAIRS)
    if outlines is not None:
        words = {kind: what for kind, (_, what) in MASK_REPAIRS.items()}
        notes += repair_notes("annotations", outlines.repairs, words)
    return notes


def emptiness(objects: int, crowds: int) -> list[str]:
    """Say that a file has no objects, or crowd regions alone; nothing is said of other files."""
    if not objects:
        return ["no image has any object"]
    if crowds < objects:
        return []
    effect = "which are neither trained on nor counted in the evaluation"
    remedy = "if they are single objects, set iscrowd and ignore to 0"
    return [f"all {objects} objects are crowd regions (iscrowd=1 or ignore=1), {effect}: {remedy}"]


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


def repair_notes(noun: str, repairs: Mapping[str, Sequence[int]], words: Mapping[str, str]) -> list[str]:
    """Say what was repaired.

    Args:
        noun: what was repaired, such as "boxes".
        repairs: ids of annotations by the key of `words`.
        words: what was done.
    """
    notes = []
    for repair, what in words.items():
        ids = sorted(repairs.get(repair, ()))
        if not ids:
            continue
        shown = ", ".join(str(identifier) for identifier in ids[:10]) + (", ..." if len(ids) > 10 else "")
        notes.append(f"{len(ids)} {noun} {what} (annotations {shown})")
    return notes
