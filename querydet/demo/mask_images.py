"""Masks as small pictures that a page lays over its image, each over the box around the mask.

A page is sent at most `MOST_BYTES` for a mask, however large and ragged it is: finer ones become coarser.
"""

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from querydet.visualization.cropped_masks import CroppedMask, outline
from querydet.visualization.mask_painting import FILL, outline_thickness

MOST_PIXELS = 1024  # of the longer side of a picture: about what a page shows of an image
MOST_BYTES = 16_000  # of the file of a picture


def mask_image(mask: CroppedMask, size: tuple[int, int], color: tuple[float, float, float]) -> dict[str, Any]:
    """Make the picture of a mask, transparent around it and translucent within its outline.

    Args:
        mask: the mask.
        size: height and width of its image, in pixels.
        color: RGB in [0, 1].

    Returns:
        `x`, `y`, `width` and `height`, its place in pixels, which may reach over the lower and right border of the
        image, and `picture`, the address of a PNG that holds its own content (`data:`).
    """
    step = math.ceil(max(mask.bitmap.shape) / MOST_PIXELS)
    bitmap, thickness = _shrunk(mask.bitmap, step), outline_thickness(size)
    while len(content := _png(bitmap, max(1, round(thickness / step)), color)) > MOST_BYTES:
        bitmap, step = _shrunk(bitmap, 2), 2 * step
    height, width = bitmap.shape
    picture = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return {"x": mask.x, "y": mask.y, "width": step * width, "height": step * height, "picture": picture}


def _shrunk(bitmap: np.ndarray, step: int) -> np.ndarray:
    """Return a mask of squares of `step` pixels, which has each that covers a part of the mask: fine lines stay."""
    rows = _merged(bitmap, step)
    return _merged(rows.T, step).T


def _merged(bitmap: np.ndarray, step: int) -> np.ndarray:
    merged = bitmap[::step].copy()
    for start in range(1, step):
        part = bitmap[start::step]
        merged[: len(part)] |= part
    return merged


def _png(bitmap: np.ndarray, thickness: int, color: tuple[float, float, float]) -> bytes:
    levels = bitmap.astype(np.uint8) + outline(bitmap, thickness)  # 0 outside, 1 within, 2 on the outline
    image = Image.fromarray(levels, mode="P")
    image.putpalette([round(255 * part) for part in color] * 3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=2, transparency=bytes([0, round(255 * FILL), 255]))
    return buffer.getvalue()
