"""Painting of masks into the pixels of an image: a translucent fill and an outline in the colour of the object.

Detectron2's `Visualizer` draws a mask with holes as a layer of the whole image's size, and fills the holes of others.
Here every pixel of a mask is painted once, whatever its shape, and others stay as they are.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from querydet.visualization.cropped_masks import CroppedMask, outline

FILL = 0.45  # opacity within the outline
OUTLINE_PART = 1 / 300  # thickness of an outline in parts of the mean side of the image, at least one pixel


def paint_masks(
    image: np.ndarray, masks: Sequence[CroppedMask | None], colors: Sequence[tuple[float, float, float]]
) -> np.ndarray:
    """Paint masks into an image, small ones over large ones.

    Args:
        image: (H, W, 3), RGB, uint8.
        masks: by object, from `cropped_masks`; None: nothing is painted.
        colors: by object, RGB in [0, 1].

    Returns:
        (H, W, 3), RGB, uint8: the given array where there are no masks, else a new one.
    """
    painted = [(mask, color) for mask, color in zip(masks, colors, strict=True) if mask is not None]
    if not painted:
        return image
    painted.sort(key=lambda pair: -int(pair[0].bitmap.sum()))
    thickness = outline_thickness(image.shape[:2])
    result = image.copy()
    for mask, color in painted:
        height, width = mask.bitmap.shape
        part = result[mask.y : mask.y + height, mask.x : mask.x + width]
        pure = 255 * np.array(color)
        mixed = (1 - FILL) * np.arange(256)[:, None] + FILL * pure  # by the value of a pixel
        np.copyto(part, cv2.LUT(part, _rounded(mixed)[None]), where=mask.bitmap[..., None])
        np.copyto(part, _rounded(pure), where=outline(mask.bitmap, thickness)[..., None])
    return result


def outline_thickness(size: Sequence[int]) -> int:
    """Return the thickness of outlines in an image of this height and width, in pixels."""
    return max(1, round(math.sqrt(size[0] * size[1]) * OUTLINE_PART))


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values).astype(np.uint8)
