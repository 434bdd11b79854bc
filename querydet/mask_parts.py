"""The contracts of mask prediction: the slot `masks` of a detector, and its head; `querydet.parts` has the others."""

from collections.abc import Callable, Sequence
from typing import Protocol

from detectron2.structures import Instances

from querydet.mask_structures import ImageMasks
from querydet.structures import Branch, ImageFeatures, PredictionSet, Role


class MaskHead(Protocol):
    """Makes the masks of queries from the features of a batch. Traits: `embed_dim`, `in_channels`, `level`."""

    __call__: Callable[..., ImageMasks]  # is `forward`

    def forward(self, features: ImageFeatures) -> ImageMasks:
        """Return what makes the masks of a batch."""


class Masks(Protocol):
    """Slot `masks`: the masks of queries. Traits: `layers`, `groups`."""

    @property
    def head(self) -> MaskHead:
        """Makes masks."""

    __call__: Callable[..., ImageMasks]  # is `forward`

    def forward(self, features: ImageFeatures) -> ImageMasks:
        """Return what makes the masks of a batch."""

    def covers(self, role: Role, branch: Branch) -> bool:
        """Return whether predictions of a role and a branch of the decoder have masks in training, at least some."""

    def attach(self, predictions: Sequence[PredictionSet], masks: ImageMasks) -> tuple[PredictionSet, ...]:
        """Give masks to the predictions that have some in training."""

    def add_masks(
        self, detections: Sequence[Instances], predictions: PredictionSet, image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """Add masks to the detections of each image.

        Args:
            detections: of each image, with the index of the query that made each of them as `query_indices`.
            predictions: the set that they were selected from.
            image_sizes: (height, width) of each image in the batch, without padding.
        """
