"""LVIS (arXiv 1908.03195) as it is published, versions 0.5 and 1: COCO's images with the annotations of 1203 classes.

Differences from COCO: the images of a file lie in two folders, `train2017` and `val2017`, and in version 1 have a
`coco_url` in place of a `file_name`; every category has a `frequency`, one of "r", "c" and "f" (rare, common,
frequent); every image names the categories that it is known not to have, and those that are not annotated exhaustively.

Differences from Detectron2's loader: the lists of every image are class indices; classes have the `name` of their
category, and not its first synonym.
"""

from collections.abc import Sequence

from detectron2.data import MetadataCatalog

from querydet.data.catalog import DetectionDataset
from querydet.data.coco import load_coco

NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"


def load_lvis(
    annotations: str,
    images: str,
    name: str | None = None,
    check_files: bool = True,
    check_boxes: bool = True,
    classes: Sequence[str] | None = None,
    need_annotations: bool = True,
    masks: bool = False,
    cache: bool | None = None,
) -> DetectionDataset:
    """Load, check and register LVIS, or other data of its format.

    Args:
        annotations: path of the json.
        images: COCO's folder, in which `train2017` and `val2017` are.
        name: see `load_coco`, as all that follow.
        check_files: raise when image files are missing.
        check_boxes: raise when the boxes as a whole are not x, y, width, height in pixels.
        classes: class names in the order of another data set.
        need_annotations: raise when the json lists images alone, as those of LVIS's test sets.
        masks: read and check outlines too.
        cache: keep the annotations as columns on the disk; None: for large files.

    Returns:
        The records of `load_coco`, with `neg_category_ids` and `not_exhaustive_category_ids`, lists of class indices.
        The metadata has `class_frequency` of every class.

    Raises:
        FileNotFoundError: see `load_coco`.
        ValueError: see `load_coco`; or the json is not of LVIS's format.
    """
    dataset = load_coco(
        annotations,
        images,
        name,
        check_files,
        check_boxes,
        classes,
        need_annotations,
        masks,
        file_names="coco_url",
        image_lists=(NEGATIVE, NOT_EXHAUSTIVE),
        cache=cache,
    )
    if not MetadataCatalog.get(dataset.name).class_frequency:
        raise ValueError(
            f"{annotations} is not of LVIS: every category needs a frequency, 'r', 'c' or 'f'. Load it with "
            "querydet.data.load_coco"
        )
    return dataset
