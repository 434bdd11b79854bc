"""Pixels of any image mode as 8-bit RGB, by one rule for each mode.

==========================  ==========================================================================================
8-bit grey and colour       as stored; CMYK, YCbCr, LAB and HSV are converted by Pillow
1-bit                       0 and 255
palette                     the colours of the palette
transparency                left out: colours count as they are stored, also where nothing of them is visible
16-bit grey                 by bit depth: 65535 becomes 255
float                       by range: an image within 0..1 is multiplied by 255, one within 0..255 is rounded
32-bit integer              refused: nothing says which value is white
==========================  ==========================================================================================

`pixel_range` replaces the last three rules: for data of 12 bits in 16, of sensors in floats, and the like. Pillow's own
conversion cuts such values off at 255, which makes one white or black picture of them.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.utils.logger import log_first_n
from PIL import Image

PIXEL_RANGE = "dataloader.{train,test}.mapper.pixel_range"
SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
EIGHT_BIT = ("1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "LA", "PA", "La", "RGBa")
SIXTEEN_BIT_FILES = ("PNG", "PPM")  # formats whose 16 bits Pillow holds in 32; it scales them to 65535
WHITE = 65535
DARK = WHITE // 16  # 16-bit images below it are nearly black: they hold 12 bits, or less
PixelRange = str | Sequence[float] | None


class PixelFormatError(ValueError):
    """Nothing says how the values of an image become 8 bits."""


def check_pixel_range(pixel_range: Any) -> tuple[float, float] | str | None:
    """Return a valid range: None, "image", or (low, high).

    Raises:
        ValueError: it is something else.
    """
    if pixel_range is None or pixel_range == "image":
        return pixel_range
    values = [] if isinstance(pixel_range, str | int | float) else list(pixel_range)
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    if len(values) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise ValueError(
            f"pixel_range must be None, 'image' or two numbers [low, high], of black and of white; got {pixel_range!r}"
        )
    return float(numbers[0]), float(numbers[1])


def to_rgb(
    image: Image.Image, pixel_range: PixelRange = None, file_format: str | None = None, name: str = ""
) -> np.ndarray:
    """Convert an image to RGB.

    Args:
        image: of any mode.
        pixel_range: for images of more than 8 bits: the values (low, high) that become 0 and 255, or "image" for the
            smallest and the largest value of each image; None for the rules above.
        file_format: Pillow's name of the format of its file; None: that of `image`.
        name: of the file, for the log.

    Returns:
        (H, W, 3) uint8.

    Raises:
        PixelFormatError: nothing says how the values become 8 bits; the message has the way to say it.
    """
    if is_deep(image.mode):
        values = np.asarray(image).astype(np.float64)
        limits = _limits(values, image, check_pixel_range(pixel_range), file_format or image.format)
        if limits == (0.0, float(WHITE)) and pixel_range is None:
            _warn_if_dark(values, name)
        grey = _scale(values, limits)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode not in EIGHT_BIT:
        raise PixelFormatError(f"mode {image.mode} cannot be read: convert the image to 8-bit grey or RGB")
    if image.mode == "La":
        image = image.convert("LA")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the way for which Pillow has no warning; the colours are the same
    return np.array(image.convert("RGB"))


def is_deep(mode: str) -> bool:
    """Return whether a mode has more than 8 bits a channel."""
    return mode in (*SIXTEEN_BIT, "I", "F")


def is_nearly_black(pixels: np.ndarray) -> bool:
    """Return whether pixels of 8 bits, made of more, show next to nothing, and are not all 0."""
    return 0 < int(pixels.max(initial=0)) < 256 * DARK // (WHITE + 1)


def _limits(
    values: np.ndarray, image: Image.Image, pixel_range: tuple[float, float] | str | None, file_format: str | None
) -> tuple[float, float]:
    """Return the values that become black and white."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise PixelFormatError("the image has values that are NaN or infinite")
    if pixel_range == "image":
        return low, high
    if pixel_range is not None and not isinstance(pixel_range, str):
        return pixel_range
    if image.mode in SIXTEEN_BIT or (image.mode == "I" and file_format in SIXTEEN_BIT_FILES):
        return 0.0, float(WHITE)
    if image.mode == "F" and low >= 0 and high <= 255:
        return 0.0, 1.0 if high <= 1 else 255.0
    kind = "32-bit integers" if image.mode == "I" else "floats"
    raise PixelFormatError(
        f"mode {image.mode}: {kind} from {low:g} to {high:g}, and nothing says which value is white: set "
        f"{PIXEL_RANGE}=[low,high], or pixel_range=image for the range of each image"
    )


def _warn_if_dark(values: np.ndarray, name: str) -> None:
    high = int(values.max(initial=0))
    if 0 < high < DARK:
        log_first_n(
            logging.WARNING,
            f"16-bit image {name or 'of no name'} has no value above {high}, so that it is nearly black (said once): "
            f"if its data have fewer bits, set {PIXEL_RANGE}=[0,{2 ** max(8, high.bit_length()) - 1}]",
        )


def _scale(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    low, high = limits
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
