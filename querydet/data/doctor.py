"""Diagnosis of a COCO-format data set: every problem and oddity, and how training would treat it.

`data.coco` stops at the first kind of problem that cannot be repaired; here all of them are collected into one report.
Format: https://cocodataset.org/#format-data (object detection).
"""

import collections
import os
from collections.abc import Callable, Sequence
from typing import Any

from querydet.data import columns
from querydet.data.categories import used_ids
from querydet.data.coco_checks import BOX_REPAIRS, find_problems, repair_box
from querydet.data.diagnosis import CHANGES, NOTE, STOPS, Diagnosis, Treatment
from querydet.data.doctor_columns import examine_columns
from querydet.data.doctor_counts import NO_ANNOTATIONS, examine_categories, examine_count, examine_totals
from querydet.data.doctor_files import examine_files, name_of
from querydet.data.doctor_masks import examine_masks
from querydet.data.doctor_places import examine_places
from querydet.data.entries import as_id, as_number, is_crowd, is_id, is_ignored, is_number
from querydet.data.file_checks import FILE_CHECKS
from querydet.data.image_paths import in_folder, set_file_names
from querydet.data.json_file import read_json
from querydet.data.mask_checks import OutlineReader
from querydet.data.record_columns import Records


def examine(
    annotations: str,
    images: str,
    treatment: Treatment,
    files: str = "decode",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosis:
    """Examine a data set.

    Args:
        annotations: path of the json.
        images: folder of the images.
        treatment: how the config treats problems.
        files: depth of the check of image files: "none", "exist", "header" (size and orientation), or "decode" (every
            pixel, and duplicate files).
        progress: called after every image file with the number of files done and the total.

    Raises:
        FileNotFoundError: the annotation file does not exist.
        ValueError: the annotation file is not json, or `files` is unknown.
    """
    if files not in FILE_CHECKS:
        raise ValueError(f"files has to be one of {', '.join(FILE_CHECKS)}, got {files!r}")
    if os.path.isfile(annotations) and os.path.getsize(annotations) >= columns.LEAST_BYTES:
        return examine_columns(annotations, images, treatment, files, progress)
    content = read_json(annotations)
    if isinstance(content, dict):
        set_file_names(content.get("images"), treatment.file_names)
    diagnosis = Diagnosis(annotations)
    outlines = OutlineReader(treatment.check_boxes) if treatment.masks else None
    problems = find_problems(
        content, annotations, images, treatment.training, treatment.check_boxes, outlines, treatment.image_lists
    )
    for kind, places in problems.kinds.items():
        for place in places:
            diagnosis.add(STOPS, kind, "stops before the first step", place)
    if not isinstance(content, dict):
        return diagnosis
    if "annotations" not in content:
        diagnosis.add(NOTE, NO_ANNOTATIONS, "detections are written, there is nothing to compare with", annotations)
    listed = {key: _dicts(content.get(key)) for key in ("images", "categories")}
    entries = content.get("annotations")
    listed["annotations"] = [item for item in entries if isinstance(item, dict)] if isinstance(entries, list) else []
    if treatment.choose is not None:
        listed["images"] = _used(listed["images"], images, treatment.choose)
        used = {image["id"] for image in listed["images"]}
        listed["annotations"] = [item for item in listed["annotations"] if as_id(item.get("image_id")) in used]
        content = {**content, **listed} if "annotations" in content else {**content, "images": listed["images"]}
    diagnosis.images = len(listed["images"])
    used_categories = used_ids(listed["annotations"])
    counts = collections.Counter(as_id(item.get("category_id")) for item in listed["annotations"] if not is_crowd(item))
    examine_categories(listed["categories"], used_categories, counts, treatment, diagnosis)
    _examine_objects(listed["images"], listed["annotations"], treatment, diagnosis)
    _examine_names(listed["images"], diagnosis)
    if files != "none":
        examine_files(listed["images"], images, treatment, files, diagnosis, progress)
    examine_places(content, treatment, diagnosis)
    examine_masks(content, treatment, outlines, diagnosis)
    return diagnosis


def compare(train: Diagnosis, test: Diagnosis) -> None:
    """Report in `test` those of its image files that are, byte for byte, also in `train`; both need "decode"."""
    trained = {digest: name for name, digest in train.digests.items()}
    for name, digest in test.digests.items():
        if digest in trained:
            effect = "trained on and tested on: the result is better than the model"
            place = f"{name} (in training: {trained[digest]})"
            test.add(NOTE, "image is also in the training data", effect, place)


def compare_classes(train: Diagnosis, test: Diagnosis) -> None:
    """Report in `test` how its classes differ from those of `train`, with which they are matched by name."""
    foreign = [name for name in test.classes if name not in train.classes]
    for name in foreign:
        count = test.objects_of.get(name, 0)
        effect = "stops before the first step: the model is not trained on it" if count else "left out"
        test.add(STOPS if count else NOTE, "class that the training data lack", effect, f"{name} ({count} objects)")
    for name in train.classes:
        if name not in test.classes:
            test.add(NOTE, "class of the training data that is missing", "it is not evaluated", name)
    shared = [name for name in train.classes if name in test.classes]
    if shared != [name for name in test.classes if name in train.classes]:
        effect = "matched by name with the training data"
        test.add(NOTE, "classes in another order than in training", effect, ", ".join(test.classes[:10]))


def _dicts(entries: Any) -> list[dict[str, Any]]:
    """Return the entries that can be examined further; `find_problems` reported the others."""
    entries_by_id: dict[Any, dict[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and is_id(entry.get("id")):
            entries_by_id.setdefault(entry["id"], entry)
    return list(entries_by_id.values())


def _used(
    entries: list[dict[str, Any]], folder: str, choose: Callable[[Records, str], Records]
) -> list[dict[str, Any]]:
    """Return the entries of images that are used, with the names of the files that are read."""
    named = [entry for entry in entries if isinstance(entry.get("file_name"), str)]
    records = [{**entry, "file_name": os.path.join(folder, entry["file_name"])} for entry in named]
    return [{**record, "file_name": in_folder(record["file_name"], folder)} for record in choose(records, folder)]


def _examine_objects(
    images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], treatment: Treatment, diagnosis: Diagnosis
) -> None:
    sizes: dict[Any, tuple[Any, Any]] = {image["id"]: (image.get("width"), image.get("height")) for image in images}
    objects: collections.Counter[Any] = collections.Counter()
    crowds: collections.Counter[Any] = collections.Counter()
    seen: set[Any] = set()
    for position, item in enumerate(annotations):
        label, image = f"annotation {item.get('id', f'at position {position}')}", as_id(item.get("image_id"))
        box = item.get("bbox")
        if image not in sizes:
            continue
        numbers = isinstance(box, list) and len(box) == 4 and all(map(is_number, (*box, *sizes[image])))
        if numbers and not _examine_box(label, box, sizes[image], diagnosis):
            continue  # it is dropped
        if numbers and isinstance(box, list):
            key = (image, as_id(item.get("category_id")), *box, is_crowd(item))
            if key in seen:
                effect = "two queries learn to find one object"
                diagnosis.add(NOTE, "object is annotated twice", effect, f"{label} in image {image}")
            seen.add(key)
        if is_crowd(item):
            effect = "not trained on; in the evaluation detections in it do not count"
            kind = "region with ignore: 1, as a crowd region" if is_ignored(item) else "crowd region"
            diagnosis.add(NOTE, kind, effect, label)
            crowds[image] += 1
        else:
            objects[image] += 1
        area = as_number(item.get("area", 1))
        if not is_number(area) or not area > 0:
            diagnosis.add(NOTE, "area that is no positive number", "that of the box is used", f"{label} ({area!r})")
    examine_totals(len(images), objects.total(), crowds.total(), treatment, diagnosis)
    for entry in images:
        examine_count(name_of(entry), objects[entry["id"]], crowds[entry["id"]], treatment, diagnosis)


def _examine_box(label: str, box: Any, size: tuple[float, float], diagnosis: Diagnosis) -> bool:
    """Report what is wrong with a box; return whether it is kept."""
    diagnosis.objects += 1
    if not all(0 < side < 2**31 for side in size):
        return True  # the size is reported, and says nothing of the box
    kept, repair = repair_box(box, int(size[0]), int(size[1]))
    if repair:
        kind, effect, _ = BOX_REPAIRS[repair]
        diagnosis.add(CHANGES, kind, effect, f"{label} ({', '.join(str(value)[:12] for value in box)})")
    return kept is not None


def _examine_names(images: Sequence[dict[str, Any]], diagnosis: Diagnosis) -> None:
    counts = collections.Counter(image.get("file_name") for image in images)
    for name, count in counts.items():
        if count > 1 and isinstance(name, str):
            effect = "trained on that often in an epoch, each time with its own objects alone"
            diagnosis.add(NOTE, "file is listed several times", effect, f"{name} ({count} times)")
