"""Masks as small pictures that a page lays over its image, each over the box around the mask.

A page is sent at most `MOST_BYTES` for a mask, however large and ragged it is: finer ones become coarser.
"""

import base64
import io
import math
from typing import Any

import cv2
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
        `x`, `y`, `width` and `height`, its place in the image in pixels, and `picture`, the address of a PNG that holds
        its own content (`data:`).
    """
    height, width = mask.bitmap.shape
    factor = min(1.0, MOST_PIXELS / max(height, width))
    thickness = outline_thickness(size)
    while len(content := _png(_shrunk(mask.bitmap, factor), max(1, round(factor * thickness)), color)) > MOST_BYTES:
        factor /= math.sqrt(2)
    picture = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return {"x": mask.x, "y": mask.y, "width": width, "height": height, "picture": picture}


def _shrunk(bitmap: np.ndarray, factor: float) -> np.ndarray:
    """Return a coarser mask, which has each pixel that covers a part of the mask: fine lines stay."""
    if factor == 1:
        return bitmap
    height, width = (max(1, round(factor * side)) for side in bitmap.shape)
    shares = cv2.resize(bitmap.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(shares > 0)


def _png(bitmap: np.ndarray, thickness: int, color: tuple[float, float, float]) -> bytes:
    levels = bitmap.astype(np.uint8) + outline(bitmap, thickness)  # 0 outside, 1 within, 2 on the outline
    image = Image.fromarray(levels, mode="P")
    image.putpalette([round(255 * part) for part in color] * 3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=2, transparency=bytes([0, round(255 * FILL), 255]))
    return buffer.getvalue()
