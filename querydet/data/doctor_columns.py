"""Diagnosis of a large json by its columns (`data.columns`): statistics are computed on arrays, not on entries.

Boxes are those after repair, and what was repaired stands beside the columns. Outlines are examined where masks are
used.
"""

import collections
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from querydet.data.categories import Classes
from querydet.data.coco_checks import BOX_REPAIRS
from querydet.data.coco_records import Loaded, ReadingRules
from querydet.data.columns import read_columns
from querydet.data.diagnosis import CHANGES, NOTE, STOPS, Diagnosis, Treatment
from querydet.data.doctor_counts import NO_ANNOTATIONS, examine_categories, examine_count, examine_totals
from querydet.data.doctor_files import examine_files, name_of
from querydet.data.doctor_masks import EFFECTS
from querydet.data.doctor_places import examine_places
from querydet.data.image_paths import in_folder
from querydet.data.mask_checks import MASK_REPAIRS
from querydet.data.problem_report import ProblemsError
from querydet.data.record_columns import Records, chunks, column
from querydet.data.record_views import RecordView
from querydet.data.repeated_objects import is_repeated

Entries = Sequence[dict[str, Any]]  # of the images of records, in their order
SAMPLED = 2_000  # images by which the places of boxes are judged
REPAIRS = {repair: (kind, effect) for repair, (kind, effect, _) in BOX_REPAIRS.items()}


def examine_columns(
    annotations: str,
    images: str,
    treatment: Treatment,
    files: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosis:
    """Examine a large data set; arguments and result as of `doctor.examine`."""
    diagnosis = Diagnosis(annotations)
    rules = ReadingRules(
        need_annotations=treatment.training,
        check_boxes=treatment.check_boxes,
        masks=treatment.masks,
        file_names=treatment.file_names,
        image_lists=treatment.image_lists,
    )
    try:
        loaded = read_columns(annotations, images, rules)
    except ProblemsError as error:
        for kind, places in error.kinds.items():
            for place in places:
                diagnosis.add(STOPS, kind, "stops before the first step", place)
        return diagnosis
    if not loaded.annotated:
        diagnosis.add(NOTE, NO_ANNOTATIONS, "detections are written, there is nothing to compare with", annotations)
    records = loaded.records if treatment.choose is None else treatment.choose(loaded.records, images)
    entries = ImageEntries(records, images)
    _examine_repairs(loaded, diagnosis)
    _examine_objects(records, entries, loaded, treatment, diagnosis)
    _examine_names(records, entries, diagnosis)
    if files != "none":
        examine_files(entries, images, treatment, files, diagnosis, progress)
    examine_places(_sample(records, images, loaded.classes, diagnosis), treatment, diagnosis)
    diagnosis.masks = diagnosis.objects if treatment.masks else 0
    return diagnosis


class ImageEntries(RecordView):
    """The images of records as entries of a json.

    Args:
        records: of the data set.
        folder: of the images, which the names are relative to.
    """

    def __init__(self, records: Records, folder: str) -> None:
        self._records, self._folder = records, folder

    def __len__(self) -> int:
        return len(self._records)

    def record(self, index: int) -> dict[str, Any]:
        """Return the entry of an image."""
        record = self._records[index]
        name = in_folder(record["file_name"], self._folder)
        sides = {"width": record["width"], "height": record["height"]}
        return {"id": record["image_id"], "file_name": name, **sides}


def _examine_repairs(loaded: Loaded, diagnosis: Diagnosis) -> None:
    masks = {key: (kind, EFFECTS[key]) for key, (kind, _) in MASK_REPAIRS.items()}
    for what, words in (("boxes", REPAIRS), ("outlines", masks)):
        for repair, numbers in loaded.repairs[what].items():
            kind, effect = words[repair]
            for number in numbers:
                diagnosis.add(CHANGES, kind, effect, f"annotation {number}")
    for oddity in loaded.oddities:
        diagnosis.add(NOTE, "the file as a whole", oddity, diagnosis.source)


def _examine_objects(
    records: Records, entries: Entries, loaded: Loaded, treatment: Treatment, diagnosis: Diagnosis
) -> None:
    """Count the objects of classes and images, and report crowd regions and objects that are annotated twice."""
    crowds, objects = np.zeros(len(records), np.int64), np.zeros(len(records), np.int64)
    num_classes = len(loaded.classes.names)
    used, counts = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    for start, stop in chunks(records):
        names = ("num_objects", "category_id", "bbox", "iscrowd", "id")
        numbers, classes, boxes, crowd, ids = (column(records, name, start, stop) for name in names)
        is_crowd = crowd.astype(bool)
        image = np.repeat(np.arange(stop - start), numbers)
        crowds[start:stop] = np.bincount(image[is_crowd], minlength=stop - start)
        objects[start:stop] = np.bincount(image[~is_crowd], minlength=stop - start)
        used += np.bincount(classes, minlength=num_classes)
        counts += np.bincount(classes[~is_crowd], minlength=num_classes)
        for number in ids[is_crowd].tolist():
            effect = "not trained on; in the evaluation detections in it do not count"
            diagnosis.add(NOTE, "crowd region", effect, f"annotation {number}")
        for place in np.flatnonzero(is_repeated(numbers, classes, boxes, crowd)):
            where = f"annotation {ids[place]} in image {records[start + int(image[place])]['image_id']}"
            diagnosis.add(NOTE, "object is annotated twice", "two queries learn to find one object", where)
    diagnosis.images, diagnosis.objects = len(records), int(used.sum())
    _examine_classes(loaded.classes, used, counts, treatment, diagnosis)
    examine_totals(len(records), int(objects.sum()), int(crowds.sum()), treatment, diagnosis)
    most = np.inf if treatment.num_queries is None else treatment.num_queries
    for index in np.flatnonzero((objects == 0) | (objects > most)).tolist():
        examine_count(name_of(entries[index]), int(objects[index]), int(crowds[index]), treatment, diagnosis)


def _examine_classes(
    classes: Classes, used: np.ndarray, counts: np.ndarray, treatment: Treatment, diagnosis: Diagnosis
) -> None:
    for note in classes.notes:
        diagnosis.add(NOTE, "categories", note, diagnosis.source)
    id_of = {index: number for number, index in classes.index_of.items()}
    categories = [{"id": id_of[index], "name": name} for index, name in enumerate(classes.names)]
    by_id = [{id_of[index]: int(number) for index, number in enumerate(numbers)} for numbers in (used, counts)]
    examine_categories(categories, collections.Counter(by_id[0]), by_id[1], treatment, diagnosis)


def _examine_names(records: Records, entries: Entries, diagnosis: Diagnosis) -> None:
    hashes = np.zeros(len(records), np.int64)
    for start, stop in chunks(records):
        hashes[start:stop] = np.fromiter(map(hash, column(records, "file_name", start, stop).tolist()), np.int64)
    values, counts = np.unique(hashes, return_counts=True)
    repeated = np.flatnonzero(np.isin(hashes, values[counts > 1])).tolist()
    names = collections.Counter(name_of(entries[index]) for index in repeated)
    for name, count in names.items():
        if count == 1:  # the hash of another name
            continue
        effect = "trained on that often in an epoch, each time with its own objects alone"
        diagnosis.add(NOTE, "file is listed several times", effect, f"{name} ({count} times)")


def _sample(records: Records, images: str, classes: Classes, diagnosis: Diagnosis) -> dict[str, Any]:
    """Return evenly spread images, and those of another size than annotated, as a json."""
    step = max(1, -(-len(records) // SAMPLED))
    chosen = set(range(0, len(records), step))
    if diagnosis.other_sizes:
        ids = column(records, "image_id")
        chosen |= set(np.flatnonzero(np.isin(ids, list(diagnosis.other_sizes)))[:SAMPLED].tolist())
    entries, id_of = ImageEntries(records, images), {index: number for number, index in classes.index_of.items()}
    objects = [
        {
            "id": item["id"],
            "image_id": records[index]["image_id"],
            "category_id": id_of[item["category_id"]],
            "bbox": list(BoxMode.convert(item["bbox"], item["bbox_mode"], BoxMode.XYWH_ABS)),
            "iscrowd": item["iscrowd"],
        }
        for index in sorted(chosen)
        for item in records[index]["annotations"]
    ]
    return {"images": [entries[index] for index in sorted(chosen)], "annotations": objects}
