"""The data of mask prediction. Letters are those of `querydet.structures`; h and w are the size of predicted masks.

No stage holds the masks of all queries: those of the queries that an object is assigned to, or that are detected, are
made when they are read, by the `ImageMasks` of the batch. Coordinates of points are (x, y) from 0 to 1 of the *padded*
image.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor


class ImageMasks(Protocol):
    """Makes the masks of queries from their hidden states, for the images of a batch. Masks are logits, float32."""

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width in pixels of the padded images, which every mask covers."""

    def of_batch(self, hidden: Tensor) -> Tensor:
        """Return the masks (B, n, h, w) of n queries of each image, from their hidden states (B, n, C)."""

    def of_image(self, image: int, hidden: Tensor) -> Tensor:
        """Return the masks (n, h, w) of n queries (n, C) of an image; n may be 0."""

    def at_points(self, image: int, hidden: Tensor, points: Tensor) -> Tensor:
        """Return the values (n, P) of the masks of n queries (n, C) of an image at P points (P, 2)."""

    def resized(self, size: tuple[int, int]) -> "ImageMasks":
        """Return what makes the same masks, bilinearly resized to (height, width)."""


class PointDraws(Protocol):
    """Random points at which masks are compared."""

    def __call__(self, purpose: str, predictions: str, image: int, rows: int, count: int) -> Tensor:
        """Return points (rows, count, 2) in [0, 1), on the device and of the type of the masks.

        Args:
            purpose: "matching" for those of an assigner, "candidates" and "extra" for those of a loss.
            predictions: the prediction set, in the words of its `describe`.
            image: index of the image in the batch.
            rows: number of pairs that have points of their own.
            count: number of points of each.
        """


@dataclass(frozen=True, slots=True)
class ObjectMasks:
    """The masks of the objects of a batch, one after the other: those of an image have the size of that image."""

    pixels: Tensor  # (N,) bool, all masks, rows before columns
    starts: Tensor  # (T,) int64, the first pixel of each object of the batch
    sizes: Tensor  # (T, 2) int64, height and width of each mask
    canvas: tuple[int, int]  # height and width of the padded images
    draws: PointDraws  # random points at which they are compared with predicted masks


@dataclass(frozen=True, slots=True)
class PairMasks:
    """The predicted and the true masks of N assigned pairs, image by image; loss terms share what they compute."""

    predicted: ImageMasks
    objects: ObjectMasks
    hidden: tuple[Tensor, ...]  # of each image, (n, C): the hidden states of the queries of its n pairs
    object: tuple[Tensor, ...]  # of each image, (n,) int64, the objects in the batch
    sets: tuple[tuple[tuple[str, int], ...], ...]  # of each image, the sets in words and their numbers of pairs
    order: Tensor  # (N,) int64, the places of these pairs, image by image, among the pairs of the loss terms
    memo: dict[Hashable, Any] = field(default_factory=dict)  # results that several loss terms read

    def restore(self, values: Sequence[Tensor]) -> Tensor:
        """Return values (n,) of the pairs of each image in the order of the pairs of the loss terms, (N,)."""
        joined = torch.cat(list(values))
        return joined.new_zeros(self.order.shape).index_put((self.order,), joined)
