"""Large-scale jitter, the augmentation that Mask2Former trains instance segmentation with.

Source: "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation" (arXiv:2012.07177), section
3, by the transforms of Detectron2 and with the numbers of Mask2Former's released code. Different here: the padding of
masks is no object (Detectron2 pads them with 255, which makes it one), and no side becomes shorter than a pixel.
"""

import numpy as np
from detectron2.data import transforms as T

IMAGE_SIZE = 1024  # pixels; released code, INPUT.IMAGE_SIZE
SCALES = (0.1, 2.0)  # released code, INPUT.MIN_SCALE and MAX_SCALE
PADDING = 128  # grey level; Detectron2, FixedSizeCrop


def large_scale_jitter(
    *,
    image_size: int = IMAGE_SIZE,
    min_scale: float = SCALES[0],
    max_scale: float = SCALES[1],
    flip_prob: float = 0.5,
    pad_value: int = PADDING,
) -> list[T.Augmentation]:
    """Build the augmentation: flip, resize to a random scale, crop or pad to a square of a fixed size.

    Args:
        image_size: side of the square in pixels.
        min_scale: smallest scale. At 1 the image fits into the square and touches two of its sides.
        max_scale: largest scale.
        flip_prob: probability of a horizontal flip.
        pad_value: grey level, 0 to 255, of the pixels to the right of and below a small image.

    Returns:
        Augmentations to apply in this order.

    Raises:
        ValueError: a number is out of its range.
    """
    if image_size < 1 or not 0 < min_scale <= max_scale:
        raise ValueError(
            f"need image_size >= 1 and 0 < min_scale <= max_scale, got {image_size}, {min_scale} and {max_scale}"
        )
    if not (0 <= flip_prob <= 1 and 0 <= pad_value <= 255):
        raise ValueError(f"need flip_prob from 0 to 1 and pad_value from 0 to 255, got {flip_prob} and {pad_value}")
    size = (int(image_size), int(image_size))
    return [
        T.RandomFlip(prob=flip_prob),
        ResizeToScale(min_scale, max_scale, *size),
        T.FixedSizeCrop(size, pad=True, pad_value=pad_value, seg_pad_value=0),
    ]


class ResizeToScale(T.ResizeScale):
    """Detectron2's `ResizeScale`, whose results have at least a pixel on each side."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw a scale and return the resize of an image (H, W, C) or (H, W)."""
        resize = super().get_transform(image)
        return T.ResizeTransform(resize.h, resize.w, max(resize.new_h, 1), max(resize.new_w, 1), resize.interp)
