"""The augmentation of the DETR family, as lists of Detectron2 augmentations.

Source: the official `make_coco_transforms` (DETR, kept by Deformable DETR and DINO): a flip, then a resize to a random
scale; half of the images are resized and cropped in between.
"""

import sys
from collections.abc import Sequence

import numpy as np
from detectron2.data import transforms as T

from querydet.data.bounded_input import MAX_PIXELS

SHORT_SIDES = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)  # pixels; official code, `scales`
MAX_SIDE = 1333  # pixels; official code
TEST_SHORT_SIDE = 800  # pixels; official code
CROP_SHORT_SIDES = (400, 500, 600)  # pixels; official code, with no limit of the long side
CROP_SIDES = (384, 600)  # pixels; official code, `RandomSizeCrop(384, 600)`
LONGEST = 10  # ours: where no side is limited, times the short side; then `MAX_PIXELS` does
ROUNDINGS = ("floor", "nearest")


def detr_train_augmentations(
    *,
    flip_prob: float = 0.5,
    short_sides: Sequence[int] = SHORT_SIDES,
    max_side: int = MAX_SIDE,
    crop_prob: float = 0.5,
    crop_short_sides: Sequence[int] = CROP_SHORT_SIDES,
    crop_sides: Sequence[int] = CROP_SIDES,
    rounding: str = "floor",
) -> list[T.Augmentation]:
    """Build the training augmentation: flip, optional resize and crop, resize.

    Args:
        flip_prob: probability of a horizontal flip.
        short_sides: lengths of the short side in pixels after the last resize; one is drawn for each image.
        max_side: largest long side in pixels after the last resize.
        crop_prob: probability of the resize and crop before the last resize.
        crop_short_sides: lengths of the short side in pixels before the crop; the long side is not limited.
        crop_sides: (smallest, largest) side of the crop in pixels; both are limited by the image's side.
        rounding: see `ResizeShortSide`.

    Returns:
        Augmentations to apply in this order.

    Raises:
        ValueError: a size is not positive, a list is empty, `crop_sides` are in the wrong order, or the rounding is
            unknown.
    """
    smallest, largest = crop_sides
    if not 0 < smallest <= largest:
        raise ValueError(f"crop_sides must be (smallest, largest) with 0 < smallest <= largest, got {crop_sides}")
    crop = T.AugmentationList(
        [
            ResizeShortSide(crop_short_sides, rounding=rounding),
            T.RandomCrop("absolute_range", (int(smallest), int(largest))),
        ]
    )
    return [
        T.RandomFlip(prob=flip_prob),
        T.RandomApply(crop, prob=crop_prob),
        ResizeShortSide(short_sides, max_side, rounding),
    ]


def detr_test_augmentations(
    *, short_side: int = TEST_SHORT_SIDE, max_side: int = MAX_SIDE, rounding: str = "floor"
) -> list[T.Augmentation]:
    """Build the test augmentation: one resize to a fixed scale; arguments as for `detr_train_augmentations`."""
    return [ResizeShortSide((short_side,), max_side, rounding)]


class ResizeShortSide(T.Augmentation):
    """Resizes the short side to a random one of several lengths, keeping the aspect ratio.

    Args:
        short_sides: lengths of the short side in pixels; one is drawn for each image.
        max_side: largest long side in pixels; the short side shrinks to keep to it (to within a pixel or two for
            "floor": the official code rounds the short side and derives the long one).
        rounding: "floor" truncates the long side as the official code does, 640x480 -> 1066x800; "nearest" is
            Detectron2's `ResizeShortestEdge`, 1067x800.

    Raises:
        ValueError: a length is not positive, there is none, or the rounding is unknown.
    """

    def __init__(self, short_sides: Sequence[int], max_side: int = sys.maxsize, rounding: str = "floor") -> None:
        super().__init__()
        self.short_sides = tuple(int(side) for side in short_sides)
        self.max_side = int(max_side)
        self.rounding = rounding
        if not self.short_sides or min(*self.short_sides, self.max_side) <= 0:
            raise ValueError(f"sizes must be positive, got short_sides={self.short_sides}, max_side={max_side}")
        if rounding not in ROUNDINGS:
            raise ValueError(f"rounding must be one of {ROUNDINGS}, got '{rounding}'")

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw a length and return the resize of an image (H, W, C) or (H, W)."""
        height, width = image.shape[:2]
        short_side = self.short_sides[np.random.randint(len(self.short_sides))]  # noqa: NPY002 (as Detectron2 does)
        new_height, new_width = self.output_size(height, width, short_side)
        return T.ResizeTransform(height, width, new_height, new_width)

    def output_size(self, height: int, width: int, short_side: int) -> tuple[int, int]:
        """Compute the size (height, width) in pixels after a resize of the short side to `short_side`."""
        if self.rounding == "nearest":
            sides = T.ResizeShortestEdge.get_output_shape(height, width, short_side, self.max_side)
            return max(sides[0], 1), max(sides[1], 1)
        short, long = min(height, width), max(height, width)
        max_side = min(self.max_side, max(MAX_PIXELS // short_side, LONGEST * short_side))
        long_side = int(short_side * long / short)
        if long / short * short_side > max_side:
            short_side = round(max_side * short / long)
            long_side = int(short_side * long / short)
            if not short_side:
                short_side, long_side = 1, max_side
        return (short_side, long_side) if height <= width else (long_side, short_side)
