"""Boxes and labels painted into pixels, in the style of Detectron2's `Visualizer`.

The `Visualizer` makes a figure of Matplotlib, which takes twenty times as long, and reads formulas in labels. Pillow is
fast: half-transparent borders in the colour of the object, and a label on dark ground in their corner.
"""

import colorsys
import functools
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PIXELS_PER_POINT = 100 / 72  # Matplotlib's resolution of 100 pixels an inch
LARGEST_PART, LEAST_SIZE = 90, 10  # of the side of an image, and in points: the Visualizer's size of letters
SMALL_AREA, SMALL_HEIGHT = 1000, 40  # pixels; labels of smaller boxes stand below them
GROUND = (0, 0, 0, 204)  # behind letters: black, opacity 0.8
BORDER_OPACITY = 128
BRIGHTER = 0.7  # how much more lightness the letters have than the border
PADDING = 0.7  # points between letters and the end of their ground
MOST_LETTERS = 200  # of a label; more would not fit on any image

Color = tuple[float, float, float]


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Return an image (H * s, W * s, 3) in which each pixel is a square of s by s; the given one for s = 1."""
    if scale == 1:
        return image
    height, width = image.shape[:2]
    return cv2.resize(image, (width * scale, height * scale), interpolation=cv2.INTER_NEAREST)


def paint_boxes(
    image: np.ndarray, boxes: np.ndarray, labels: Sequence[str], colors: Sequence[Color], scale: int, font_scale: float
) -> np.ndarray:
    """Paint boxes and their labels into an enlarged image, small boxes over large ones and labels over all boxes.

    Args:
        image: (H, W, 3), RGB, uint8, not enlarged yet.
        boxes: (n, 4), XYXY in pixels of the image.
        labels: by object; an empty one is left out.
        colors: by object, RGB in [0, 1].
        scale: the factor by which the picture is larger than the image.
        font_scale: of the size of letters.

    Returns:
        (H * scale, W * scale, 3), RGB, uint8.
    """
    picture = Image.fromarray(enlarge(image, scale))
    draw = ImageDraw.Draw(picture, "RGBA")
    side = math.sqrt(image.shape[0] * image.shape[1])
    points = max(side // LARGEST_PART, LEAST_SIZE // scale) * font_scale
    thickness = max(1, round(max(points / 4, 1) * scale * PIXELS_PER_POINT))
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    order = np.argsort(-(corners[:, 2:] - corners[:, :2]).prod(axis=1), kind="stable").tolist()
    for index in order:
        _paint_border(draw, corners[index] * scale, thickness, (*_levels(colors[index]), BORDER_OPACITY))
    for index in order:
        if labels[index]:
            size = _letter_size(corners[index], side) * points * scale * PIXELS_PER_POINT
            place = _label_place(corners[index], image.shape[0], scale)
            _paint_label(draw, labels[index], (place[0] * scale, place[1] * scale), size, _letters(colors[index]))
    return np.asarray(picture)


def _paint_border(draw: ImageDraw.ImageDraw, box: np.ndarray, thickness: int, color: tuple[int, ...]) -> None:
    """Paint the border of a box, half of its thickness on either side of the edge, as four parts without overlap."""
    x0, y0, x1, y1 = (round(float(value) - thickness / 2) for value in box)
    right, bottom = x1 + thickness - 1, y1 + thickness - 1
    if right - x0 < 2 * thickness or bottom - y0 < 2 * thickness:  # no room inside
        draw.rectangle((x0, y0, right, bottom), fill=color)
        return
    draw.rectangle((x0, y0, right, y0 + thickness - 1), fill=color)
    draw.rectangle((x0, y1, right, bottom), fill=color)
    draw.rectangle((x0, y0 + thickness, x0 + thickness - 1, y1 - 1), fill=color)
    draw.rectangle((x1, y0 + thickness, right, y1 - 1), fill=color)


def _paint_label(
    draw: ImageDraw.ImageDraw, text: str, place: tuple[float, float], size: float, color: tuple[int, int, int]
) -> None:
    text = "".join(letter if letter.isprintable() else " " for letter in text[:MOST_LETTERS])
    font = _font(max(1, round(size)))
    _, top, _, bottom = font.getbbox("lp")  # of a line of any letters
    padding = PADDING * PIXELS_PER_POINT
    x, y = place
    right = x + font.getlength(text) + padding
    draw.rectangle((x - padding, y - padding, right, y + bottom - top + padding), fill=GROUND)
    draw.text((x, y - top), text, font=font, fill=color)


def _letter_size(box: np.ndarray, side: float) -> float:
    """Return the size of the letters of a box in parts of the largest: high boxes have larger ones."""
    part = (float(box[3]) - float(box[1])) / side
    return min(max((part - 0.02) / 0.08 + 1, 1.2), 2.0) * 0.5


def _label_place(box: np.ndarray, height: int, scale: int) -> tuple[float, float]:
    """Return the upper left corner of a label, in pixels of the image: that of the box, or beside a small one."""
    x0, y0, x1, y1 = map(float, box)
    if (y1 - y0) * (x1 - x0) >= SMALL_AREA * scale and y1 - y0 >= SMALL_HEIGHT * scale:
        return x0, y0
    return (x1, y0) if y1 >= height - 5 else (x0, y1)


def _letters(color: Color) -> tuple[int, int, int]:
    """Return the colour of letters, which is lighter than that of the border, as their ground is dark."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*color)
    lighter = colorsys.hls_to_rgb(hue, min(1.0, lightness * (1 + BRIGHTER)), saturation)
    return _levels(lighter)


def _levels(color: Color) -> tuple[int, int, int]:
    red, green, blue = (round(255 * min(1.0, max(0.0, value))) for value in color)
    return red, green, blue


@functools.lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return Matplotlib's DejaVu Sans in a size in pixels, without an import of Matplotlib, which takes a second."""
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None
    assert spec.submodule_search_locations
    (folder, *_) = spec.submodule_search_locations
    return ImageFont.truetype(str(Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
