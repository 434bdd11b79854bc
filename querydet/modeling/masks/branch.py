"""The mask branch of a detector: which predictions have masks in training, and the masks of detections."""

from collections.abc import Sequence
from dataclasses import replace

from detectron2.structures import Instances
from torch import nn

from querydet.mask_parts import MaskHead
from querydet.mask_structures import ImageMasks
from querydet.modeling.masks.paste import PasteMasks
from querydet.structures import PRIMARY, Branch, ImageFeatures, PredictionSet, Role, Stage

LAYERS = ("last", "all")
GROUPS = ("primary", "all")


class MaskBranch(nn.Module):
    """Predicts the masks of queries (slot `masks`).

    Inference makes the masks of detections only. Training adds masks to the decoder's predictions that the arguments
    name; rules with losses of masks then supervise those, and a matching by masks reads them.

    Args:
        head: makes masks, such as `querydet.modeling.masks.PixelEmbedding`.
        paste: puts the masks of detections into the image.
        layers: decoder layers that have masks, "last" or "all".
        groups: groups of queries that have masks, "primary" or "all" (Group DETR, and further groups of H-DETR).
        roles: roles of groups that have masks, of "matching" and "denoising".
        branches: branches that have masks, of "one_to_one", "one_to_many" and "second_stream".

    Raises:
        ValueError: for an unknown name, or where the predictions that inference reads would have no masks.
    """

    def __init__(
        self,
        *,
        head: MaskHead,
        paste: PasteMasks,
        layers: str = "last",
        groups: str = "primary",
        roles: Sequence[str] = ("matching",),
        branches: Sequence[str] = ("one_to_one",),
    ) -> None:
        super().__init__()
        if layers not in LAYERS or groups not in GROUPS:
            raise ValueError(
                f"layers must be one of {LAYERS} and groups one of {GROUPS}, found {layers!r} and {groups!r}"
            )
        self.head, self.paste = head, paste
        self.layers, self.groups = layers, groups
        self.roles, self.branches = tuple(map(Role, roles)), tuple(map(Branch, branches))
        if not self.covers(Role.MATCHING, Branch.ONE_TO_ONE):
            raise ValueError(
                f"inference reads masks of matching queries, one to one, and roles={list(roles)} with branches="
                f"{list(branches)} leave them untrained: add 'matching' to roles and 'one_to_one' to branches"
            )

    def forward(self, features: ImageFeatures) -> ImageMasks:
        """Return what makes the masks of a batch."""
        return self.head(features)

    def covers(self, role: Role, branch: Branch) -> bool:
        """Return whether predictions of a role and a branch of the decoder have masks in training, at least some."""
        return role in self.roles and branch in self.branches

    def attach(self, predictions: Sequence[PredictionSet], masks: ImageMasks) -> tuple[PredictionSet, ...]:
        """Give masks to the predictions that have some.

        Args:
            predictions: of all stages.
            masks: makes the masks of the batch.

        Raises:
            ValueError: the heads do not tell the hidden states of the queries.
        """
        return tuple(self._attach(each, masks) for each in predictions)

    def _attach(self, predictions: PredictionSet, masks: ImageMasks) -> PredictionSet:
        if predictions.one_to_one is not None:
            predictions = replace(predictions, one_to_one=self._attach(predictions.one_to_one, masks))
        return replace(predictions, masks=masks) if self._has_masks(predictions) else predictions

    def _has_masks(self, predictions: PredictionSet) -> bool:
        group = predictions.group
        if predictions.stage is not Stage.DECODER or not self.covers(group.role, predictions.branch):
            return False
        if self.layers == "last" and not predictions.is_last:
            return False
        if self.groups == "primary" and group.role is Role.MATCHING and group.name != PRIMARY:
            return False
        if predictions.hidden is None:
            raise ValueError(
                f"model.heads give {predictions.describe()} without the hidden states that masks are made from: fill "
                "`hidden` of its prediction sets, as querydet.modeling.heads.PredictionHeads does"
            )
        return True

    def add_masks(
        self, detections: Sequence[Instances], predictions: PredictionSet, image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """Add the masks of detections.

        Args:
            detections: of each image, with the `query_indices` of a postprocess.
            predictions: the set that they were selected from.
            image_sizes: (height, width) of each image in the batch, without padding.

        Raises:
            ValueError: the postprocess does not tell the queries of its detections.
        """
        masks, hidden = predictions.masks, predictions.hidden
        assert masks is not None
        assert hidden is not None
        pasted = []
        for image, (instances, size) in enumerate(zip(detections, image_sizes, strict=True)):
            if not instances.has("query_indices"):
                raise ValueError(
                    "model.postprocess does not tell which query made each detection: set `query_indices` of the "
                    "Instances, as querydet.modeling.postprocess.make_instances does"
                )
            pasted.append(self.paste(instances, masks, image, hidden[image], size))
        return pasted
