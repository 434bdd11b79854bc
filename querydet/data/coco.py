"""COCO-format data sets from two paths: the annotation json and the image folder.

Differs from Detectron2's `load_coco_json`: the json is checked first, and all problems are reported together
(`data.coco_checks`); class names come from the json; gaps in the category ids need no mapping by hand; images without
objects are kept; bad boxes are repaired and counted; classes can be matched by name with those of other data
(`data.categories`); masks are read where they are asked for (`data.mask_checks`). Keypoints are not read.
"""

import dataclasses
import functools
import logging
import os
from collections.abc import Sequence

from querydet.data import columns
from querydet.data.catalog import DetectionDataset, default_name, register
from querydet.data.categories import Classes
from querydet.data.coco_checks import REPAIR_HINT
from querydet.data.coco_records import Loaded, ReadingRules, read_records
from querydet.data.file_names import FolderIndex
from querydet.data.missing_files import missing
from querydet.data.problem_report import MAX_SHOWN, ProblemReport
from querydet.data.record_columns import Records

logger = logging.getLogger(__name__)


def load_coco(
    annotations: str,
    images: str,
    name: str | None = None,
    check_files: bool = True,
    check_boxes: bool = True,
    classes: Sequence[str] | None = None,
    need_annotations: bool = True,
    masks: bool = False,
    file_names: str = "auto",
    image_lists: Sequence[str] = (),
    cache: bool | None = None,
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
        file_names: rule of the names of the image files, see `image_paths.set_file_names`.
        image_lists: keys of the images that hold lists of category ids, as LVIS's `neg_category_ids`, to be kept as
            lists of class indices.
        cache: keep the annotations as columns on the disk, which are built once and shared by all processes
            (`data.columns`). None: for files of 64 MiB or more.

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
    rules = ReadingRules(wanted, need_annotations, check_boxes, masks, file_names, tuple(image_lists))
    loaded = _read(annotations, images, rules, cache)
    if check_files:
        _check_files(annotations, images, loaded.records)
    name = _register(name, annotations, images, check_files, rules, cache, loaded.classes)
    return DetectionDataset(loaded.records, name, loaded.annotated)


def _read(annotations: str, images: str, rules: ReadingRules, cache: bool | None) -> Loaded:
    """Read a json into memory or into columns."""
    if cache is None:
        size = os.path.getsize(annotations) if os.path.isfile(annotations) else 0
        cache = size >= columns.LEAST_BYTES
    if not cache:
        return read_records(annotations, images, rules)
    loaded = columns.read_columns(annotations, images, rules)
    _say_once(annotations, loaded.notes)
    return loaded


@functools.lru_cache(maxsize=16)  # a data set is loaded several times in a run
def _say_once(annotations: str, notes: tuple[str, ...]) -> None:
    for note in notes:
        logger.warning("%s: %s", annotations, note)


def _register(
    name: str | None,
    annotations: str,
    images: str,
    check_files: bool,
    rules: ReadingRules,
    cache: bool | None,
    classes: Classes,
) -> str:
    """Register a data set in Detectron2's catalogs; return its name."""
    derived = default_name(annotations, images, classes.names if classes.is_matched else ())
    name = name or derived + "_masks" * rules.masks
    again = functools.partial(
        load_coco, annotations, images, name, check_files, **dataclasses.asdict(rules), cache=cache
    )
    paths = {"json_file": annotations, "image_root": images}
    register(name, again, classes.names, classes.index_of, classes.absent, classes.frequency, **paths)
    return name


def _check_files(annotations: str, images: str, records: Records) -> None:
    if not os.path.isdir(images):
        raise FileNotFoundError(
            f"image folder {os.path.abspath(images)} does not exist: check dataloader.{{train,test}}.dataset.images"
        )
    if len(absent := missing(records)):
        report, index = ProblemReport(annotations), FolderIndex(images)
        for number, name in enumerate(str(records[int(place)]["file_name"]) for place in absent):
            hint = index.hint(os.path.relpath(name, images)) if number < MAX_SHOWN else ""
            report.add("image file does not exist", f"{name}{hint}")
        try:
            report.raise_if_any()
        except ValueError as error:
            raise FileNotFoundError(
                f"{error}\n  {REPAIR_HINT}\n  To train without them set dataloader.train.dataset.check_files=False and "
                "dataloader.train.mapper.on_bad_image=skip."
            ) from error
