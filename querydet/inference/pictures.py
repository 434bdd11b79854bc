"""Whatever is called an image, as pixels: paths, files, bytes, PIL images and arrays."""

import os
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from querydet.data.media import READ_ERRORS, ImageReader

Picture = np.ndarray | Image.Image | str | os.PathLike | bytes | BinaryIO
_CONTENT = bytes | bytearray | memoryview


def is_one_picture(images: Any) -> bool:
    """Return whether something is a single image, although it may be possible to iterate over it."""
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    return isinstance(images, str | os.PathLike | Image.Image | _CONTENT) or hasattr(images, "read")


def read_picture(image: Any, reader: ImageReader | None = None) -> np.ndarray:
    """Read an image of any kind as (H, W, 3), RGB, uint8.

    Args:
        image: a path, an open binary file, the content of a file as bytes, a PIL image, or an array, (H, W, 3) RGB or
            (H, W) grey, uint8.
        reader: how to read it, see `data.media.ImageReader`; None: by its defaults.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a file is no image, or an array has another shape or dtype.
        TypeError: `image` is of another type.
    """
    reader = reader or ImageReader()
    if isinstance(image, Image.Image):
        return reader(image)
    if isinstance(image, str | os.PathLike) and not os.path.isfile(image):
        raise FileNotFoundError(f"there is no image {os.path.abspath(image)}")
    if isinstance(image, str | os.PathLike | _CONTENT) or hasattr(image, "read"):
        name = image if isinstance(image, str | os.PathLike) else f"an image given as {type(image).__name__}"
        try:
            return np.ascontiguousarray(reader(image))
        except READ_ERRORS as error:
            raise ValueError(f"{name} cannot be read as an image: {error}") from error
    if not isinstance(image, np.ndarray):
        raise TypeError(f"an image must be a path, a file, bytes, a PIL image or an array, got {type(image).__name__}")
    if image.dtype != np.uint8:
        raise ValueError(f"an array must be uint8, 0 to 255, got {image.dtype}")
    if image.ndim == 2:
        image = image[..., None].repeat(3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an array must have shape (H, W, 3), RGB, or (H, W), grey; got {image.shape}")
    return np.ascontiguousarray(image)
