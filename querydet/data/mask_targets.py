"""The masks of a training sample: outlines become pixels of the file, and every augmentation moves them as the image.

Polygons could be moved as points instead, as Detectron2 does, but polygons and run lengths of one object then differ
along their edges, and a crop of polygons needs a library of its own. Source: Deformable DETR's and MS-DETR's code,
which draws polygons first, too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import BitMasks

from querydet.data.masks import BadOutlineError, to_bitmap

HAS_MASKS = "has_masks"  # key of the dict of an image: its objects, if there are any, have outlines
MAX_MASK_PIXELS = 2**28  # ours: of all masks of an image, a byte each; 251 objects at 800 x 1333


def have_outlines(annotations: Sequence[dict[str, Any]]) -> bool:
    """Return whether annotations of an image have outlines.

    Raises:
        ValueError: some have, others have not.
    """
    lacking = [annotation for annotation in annotations if annotation.get("segmentation") is None]
    if lacking and len(lacking) < len(annotations):
        raise ValueError(
            f"annotation {lacking[0].get('id', 'without an id')} has no segmentation, others of its image have: give "
            "all of them one, or none"
        )
    return bool(annotations) and not lacking


def most_masks(size: tuple[int, int]) -> int:
    """Return how many masks of a size (height, width) an image may have, at least one."""
    return max(1, MAX_MASK_PIXELS // (size[0] * size[1]))


def draw_masks(
    annotations: Sequence[dict[str, Any]],
    transforms: T.Transform,
    original_size: tuple[int, int],
    size: tuple[int, int],
) -> BitMasks:
    """Draw the masks of objects, and augment them one at a time.

    Args:
        annotations: with `segmentation` in any form that `masks.read_outline` reads; not changed.
        transforms: of the image.
        original_size: (height, width) of the image before them.
        size: (height, width) of the image after them.

    Returns:
        Masks (T, height, width) of the augmented image.

    Raises:
        ValueError: an outline cannot be read, or is of another size than the image; the message names the annotation.
    """
    drawn = np.empty((len(annotations), *size), dtype=bool)
    for index, annotation in enumerate(annotations):
        try:
            bitmap = to_bitmap(annotation["segmentation"], *original_size)
        except BadOutlineError as error:
            raise ValueError(f"annotation {annotation.get('id', 'without an id')}: {error}") from error
        moved = transforms.apply_segmentation(bitmap.view(np.uint8))
        if moved.shape != size:
            raise ValueError(f"the augmentation makes masks of {moved.shape} of an image of {size}: it moves them not")
        # equal to 1: Detectron2's crops of a fixed size pad masks with 255, which is not the object
        np.equal(moved, 1, out=drawn[index])
    return BitMasks(torch.from_numpy(drawn))
