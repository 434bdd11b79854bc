"""Objects365 v2: COCO's format with 365 classes, and files that need some care.

Shao et al., "Objects365: A Large-Scale, High-Quality Dataset for Object Detection", ICCV 2019. The json of training
names three images that no archive has. File names begin with folders that most copies on disk lack
(``images/v1/patch0/...``). Some objects are annotated twice. Boxes of drawings and reflections (`isfake`,
`isreflected`) are objects like others, for training and for the evaluation.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog

from querydet.data.catalog import DetectionDataset, register
from querydet.data.coco import load_coco
from querydet.data.missing_files import missing
from querydet.data.present_files import AS_IT_IS, LAST_TWO, MovedFiles, find_rule, named
from querydet.data.record_columns import Records, records_of
from querydet.data.record_views import ChosenRecords
from querydet.data.repeated_objects import WithoutRepeated
from querydet.data.shared_classes import classes_of

logger = logging.getLogger(__name__)

NUM_CLASSES = 365
# named in zhiyuan_objv2_train.json, in none of the archives
MISSING_IMAGES = (
    "patch16/objects365_v2_00908726.jpg",
    "patch6/objects365_v1_00320532.jpg",
    "patch6/objects365_v1_00320534.jpg",
)
OPTIONS = {
    "file_names": ("auto", AS_IT_IS, LAST_TWO),
    "missing_images": ("known", "all"),
    "duplicates": ("keep", "drop"),
}


def load_objects365(
    annotations: str,
    images: str,
    name: str | None = None,
    check_files: bool = True,
    check_boxes: bool = True,
    classes: Sequence[str] | None = None,
    need_annotations: bool = True,
    file_names: str = "auto",
    missing_images: str = "known",
    duplicates: str = "keep",
    cache: bool | None = None,
) -> DetectionDataset:
    """Load, check and register a json of Objects365; see `coco.load_coco`, which reads it.

    Args:
        annotations: path of the annotation json.
        images: path of the image folder.
        name: name in Detectron2's catalogs; derived from both paths if None.
        check_files: raise when image files are missing, except those that are left out.
        check_boxes: see `load_coco`.
        classes: see `load_coco`.
        need_annotations: see `load_coco`.
        file_names: "file_name": images lie where the json says; "last_two": under the last two parts of the name,
            ``patch0/objects365_v1_00000000.jpg``; "auto": where more of a sample of them exist, which the log says.
        missing_images: what is left out: "known": the three images that no archive has; "all": every image without a
            file.
        duplicates: "drop" leaves out objects that have the class and the box of an earlier one of their image; the
            authors of detectors trained on Objects365 "keep" them, as far as is known.
        cache: see `load_coco`.

    Returns:
        As `load_coco`; the class of category id 1 has index 0.

    Raises:
        FileNotFoundError: the annotation file, the image folder or, with `check_files`, image files are missing.
        ValueError: an option is not one of those above, or as for `load_coco`.
    """
    _check_options(file_names=file_names, missing_images=missing_images, duplicates=duplicates)
    reading: dict[str, Any] = {
        "check_boxes": check_boxes,
        "classes": classes,
        "need_annotations": need_annotations,
        "cache": cache,
    }
    base = load_coco(annotations, images, check_files=False, **reading)
    if not os.path.isdir(images):
        raise FileNotFoundError(f"image folder {os.path.abspath(images)} does not exist: check dataset.images")
    records = _at_their_places(base, annotations, images, file_names)
    records = _without_missing(records, annotations, check_files, missing_images)
    if duplicates == "drop":
        records = unique = WithoutRepeated(records)
        logger.warning("%s: %d objects that are annotated twice are left out", annotations, unique.repeated)
    name = name or f"{base.name}_objects365"
    own: dict[str, Any] = {"file_names": file_names, "missing_images": missing_images, "duplicates": duplicates}
    load = functools.partial(load_objects365, annotations, images, name, check_files, **reading, **own)
    _register(name, load, base)
    return DetectionDataset(records_of(records), name, base.annotated)


def _check_options(**chosen: str) -> None:
    for option, value in chosen.items():
        if value not in OPTIONS[option]:
            possible = ", ".join(OPTIONS[option])
            raise ValueError(f"{option} of Objects365 has to be one of {possible}, got {value!r}")


def _register(name: str, load: Callable[[], DetectionDataset], base: DetectionDataset) -> None:
    """Register a data set with the classes and files of what it was read from."""
    found, metadata = classes_of(base), MetadataCatalog.get(base.name)
    if sorted(found.index_of) != list(range(1, NUM_CLASSES + 1)):
        logger.warning(
            "%s: the categories are not those of Objects365 v2, which have the ids 1 to 365", metadata.json_file
        )
    paths = {key: metadata.get(key) for key in ("json_file", "image_root")}
    register(name, load, found.names, found.index_of, found.absent, found.frequency, **paths)


def _at_their_places(records: Records, annotations: str, images: str, rule: str) -> Records:
    """Return records whose files are named by a rule."""
    if rule == "auto":
        rule = find_rule(records, images)
        where = "where the json says" if rule == AS_IT_IS else "under the last two parts of their names"
        logger.info("%s: images lie %s (file_names=%s)", annotations, where, rule)
    return records if rule == AS_IT_IS else MovedFiles(records, images)


def _without_missing(records: Records, annotations: str, check_files: bool, rule: str) -> Records:
    """Leave out images without a file, and say how many."""
    gone = _left_out(records, rule)
    if len(gone):
        example = records[int(gone[0])]["file_name"]
        logger.warning("%s: %d images without a file are left out, such as %s", annotations, len(gone), example)
        records = _without(records, gone)
    if check_files and rule != "all" and len(absent := missing(records)):
        shown = ", ".join(records[int(index)]["file_name"] for index in absent[:3])
        raise FileNotFoundError(
            f"{annotations}: {len(absent)} of {len(records)} image files do not exist, such as {shown}. "
            "missing_images=all leaves them out"
        )
    if not len(records):
        raise FileNotFoundError(f"{annotations}: no image file exists: check the image folder and file_names")
    return records


def used_records(records: Records, folder: str, file_names: str = "auto", missing_images: str = "known") -> Records:
    """Return the records of a json that `load_objects365` uses, with the names of their files; nothing is refused.

    Args:
        records: of the json.
        folder: of the images.
        file_names: see `load_objects365`.
        missing_images: see there.
    """
    with contextlib.suppress(FileNotFoundError):  # no file at either place, which is reported with each image
        file_names = find_rule(records, folder) if file_names == "auto" else file_names
    records = MovedFiles(records, folder) if file_names == LAST_TWO else records
    return _without(records, _left_out(records, missing_images))


def _left_out(records: Records, rule: str) -> np.ndarray:
    """Return the indices of images that are left out."""
    return missing(records) if rule == "all" else named(records, MISSING_IMAGES)


def _without(records: Records, indices: np.ndarray) -> Records:
    kept = np.ones(len(records), dtype=bool)
    kept[indices] = False
    return records if kept.all() else ChosenRecords(records, np.flatnonzero(kept))
