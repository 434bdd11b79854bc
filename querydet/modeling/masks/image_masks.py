"""What every kind of mask head shares: masks at points and in other sizes, from whole masks."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from querydet.mask_structures import ImageMasks
from querydet.modeling.masks.points import sample_maps


class WholeMasks(ABC):
    """An `ImageMasks` that computes whole masks first; a subclass may have shorter ways to points and other sizes.

    Args:
        canvas: height and width in pixels of the padded images.
    """

    def __init__(self, canvas: tuple[int, int]) -> None:
        self.canvas = canvas

    @abstractmethod
    def of_batch(self, hidden: Tensor) -> Tensor:
        """Return the masks (B, n, h, w) of n queries of each image, from their hidden states (B, n, C)."""

    @abstractmethod
    def of_image(self, image: int, hidden: Tensor) -> Tensor:
        """Return the masks (n, h, w) of n queries (n, C) of an image; n may be 0."""

    def at_points(self, image: int, hidden: Tensor, points: Tensor) -> Tensor:
        """Return the values (n, P) of the masks of n queries (n, C) of an image at P points (P, 2)."""
        return sample_maps(self.of_image(image, hidden), points.expand(len(hidden), -1, -1))

    def resized(self, size: tuple[int, int]) -> ImageMasks:
        """Return what makes the same masks, bilinearly resized to (height, width)."""
        return ResizedMasks(self, size)


class ResizedMasks(WholeMasks):
    """Masks in another size.

    Args:
        masks: makes them in their own size.
        size: height and width.
    """

    def __init__(self, masks: ImageMasks, size: tuple[int, int]) -> None:
        super().__init__(masks.canvas)
        self.masks, self.size = masks, size

    def of_batch(self, hidden: Tensor) -> Tensor:
        """Return the masks (B, n, h, w) of n queries of each image, from their hidden states (B, n, C)."""
        masks = self.masks.of_batch(hidden)
        return resize_maps(masks.flatten(0, 1)[:, None], self.size)[:, 0].unflatten(0, masks.shape[:2])

    def of_image(self, image: int, hidden: Tensor) -> Tensor:
        """Return the masks (n, h, w) of n queries (n, C) of an image; n may be 0."""
        return resize_maps(self.masks.of_image(image, hidden)[:, None], self.size)[:, 0]


def resize_maps(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Resize maps (n, C, h, w) bilinearly to (height, width); n may be 0."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
