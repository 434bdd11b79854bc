"""Masks of an image's objects, each cropped to the box around it, and their outlines.

Most objects cover a small part of an image. Cropped, the masks of a hundred objects of a large photograph need little
memory and are quickly drawn.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from detectron2.structures import BitMasks, Instances, PolygonMasks
from pycocotools import mask as coco_mask

from querydet.utils.instance_masks import BITMAPS, has_masks, masks_of, run_lengths_of
from querydet.utils.run_lengths import RunLengths

GT_RUN_LENGTHS = "gt_masks_rle"  # field of annotations: run lengths, or None where an annotation has no mask


@dataclass(frozen=True, slots=True)
class CroppedMask:
    """The mask of an object that has at least one pixel.

    Args:
        x: left column of the crop in the image.
        y: upper row of the crop in the image.
        bitmap: (h, w) bool, without empty rows or columns at its borders.
    """

    x: int
    y: int
    bitmap: np.ndarray


def cropped_masks(instances: Instances) -> list[CroppedMask | None]:
    """Return the mask of every detection or annotation; None for one without a mask, or with an empty one.

    Args:
        instances: detections with `pred_masks` (n, H, W) bool or `pred_masks_rle`, or annotations with `gt_masks`
            (Detectron2's `BitMasks` or `PolygonMasks`) or `gt_masks_rle`, which may have None in it.

    Raises:
        ValueError: masks are not bool, no run lengths, or not of the size of the image.
    """
    if instances.has(BITMAPS):
        return [crop(mask.detach().cpu().numpy()) for mask in masks_of(instances)]
    if has_masks(instances):
        return decoded_crops(run_lengths_of(instances))
    if instances.has(GT_RUN_LENGTHS):
        return decoded_crops(instances.get(GT_RUN_LENGTHS))
    if not instances.has("gt_masks"):
        return [None] * len(instances)
    masks = instances.get("gt_masks")
    if isinstance(masks, PolygonMasks):
        masks = BitMasks.from_polygon_masks(masks, *instances.image_size)
    return [crop(mask.cpu().numpy()) for mask in masks.tensor]


def decoded_crops(masks: Iterable[RunLengths | None]) -> list[CroppedMask | None]:
    """Decode run lengths that were checked, one mask at a time: all of them together may not fit into the memory."""
    return [None if mask is None else _decoded_crop(mask) for mask in masks]


def _decoded_crop(mask: RunLengths) -> CroppedMask | None:
    x, y, width, height = (int(value) for value in coco_mask.toBbox(mask))
    if not width or not height:
        return None
    # cropped before its columns become rows, which takes most of the time on a large image
    bitmap = coco_mask.decode(mask)[y : y + height, x : x + width]
    return CroppedMask(x, y, np.ascontiguousarray(bitmap).astype(bool))


def crop(bitmap: np.ndarray) -> CroppedMask | None:
    """Crop a mask (H, W) bool to the box around it; None for an empty one."""
    rows = np.flatnonzero(bitmap.any(axis=1))
    if not len(rows):
        return None
    y, end = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(bitmap[y:end].any(axis=0))
    x = int(columns[0])
    return CroppedMask(x, y, bitmap[y:end, x : int(columns[-1]) + 1].copy())


def outline(bitmap: np.ndarray, thickness: int = 1) -> np.ndarray:
    """Return the pixels (h, w) bool of a mask that are at most `thickness` pixels from its border."""
    kernel = np.ones((2 * thickness + 1,) * 2, dtype=np.uint8)
    inner = cv2.erode(bitmap.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return bitmap & ~inner.astype(bool)
