"""Loss terms. Each sums over a prediction set; the criterion divides by the number of objects."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from querydet.boxes import cxcywh_to_xyxy, generalized_iou
from querydet.structures import Assignment, PredictionSet, Targets


@dataclass(frozen=True, slots=True)
class MatchedPairs:
    """The assigned (query, object) pairs of all images."""

    image: Tensor  # (n,) int64
    query: Tensor  # (n,) int64
    labels: Tensor  # (n,) int64, of the objects
    boxes: Tensor  # (n, 4), of the objects
    ignored: Tensor | None  # (B, Q) bool, True for queries without any loss; None: there are none

    @classmethod
    def gather(cls, assignments: tuple[Assignment, ...], targets: Targets) -> "MatchedPairs":
        """Look up the objects of an assignment of each image."""
        images = [torch.full_like(each.queries, number) for number, each in enumerate(assignments)]
        labels = [labels[each.objects] for labels, each in zip(targets.labels, assignments, strict=True)]
        boxes = [boxes[each.objects] for boxes, each in zip(targets.boxes, assignments, strict=True)]
        return cls(
            image=torch.cat(images),
            query=torch.cat([each.queries for each in assignments]),
            labels=torch.cat(labels),
            boxes=torch.cat(boxes),
            ignored=_stack_ignored(assignments),
        )


def _stack_ignored(assignments: tuple[Assignment, ...]) -> Tensor | None:
    found = [each.ignored for each in assignments if each.ignored is not None]
    if not found:
        return None
    return torch.stack([torch.zeros_like(found[0]) if each.ignored is None else each.ignored for each in assignments])


class LossTerm(Protocol):
    """A named, weighted sum over a prediction set."""

    name: str
    weight: float

    def __call__(self, predictions: PredictionSet, matched: MatchedPairs) -> Tensor:
        """Return a scalar, not yet weighted."""


class FocalLoss:
    """Classification: sigmoid focal loss (arXiv 1708.02002) over all queries and classes; unassigned queries are
    background in every class, and ignored ones have no loss. A query of several pairs has the class of the last.

    Args:
        weight: factor of the term.
        alpha, gamma: balance and focus.
    """

    name = "class"

    def __init__(self, *, weight: float, alpha: float = 0.25, gamma: float = 2.0) -> None:
        self.weight, self.alpha, self.gamma = weight, alpha, gamma

    def __call__(self, predictions: PredictionSet, matched: MatchedPairs) -> Tensor:
        """Sum over (B, Q, K)."""
        one_hot = _one_hot(predictions.logits, matched)
        if matched.ignored is None:
            return sigmoid_focal_loss(predictions.logits, one_hot, self.alpha, self.gamma, reduction="sum")
        loss = sigmoid_focal_loss(predictions.logits, one_hot, self.alpha, self.gamma)
        return loss.masked_fill(matched.ignored[..., None], 0).sum()


def _one_hot(logits: Tensor, matched: MatchedPairs) -> Tensor:
    """The class of each query (B, Q, K): that of its last pair, whatever order a device writes in; zeros without."""
    images, queries, classes = logits.shape
    place = torch.arange(1, len(matched.query) + 1, device=logits.device)
    last = place.new_zeros(images * queries)
    last = last.scatter_reduce(0, matched.image * queries + matched.query, place, "amax")
    labels = torch.cat([matched.labels.new_full((1,), classes), matched.labels])[last]  # K stands for background
    one_hot = logits.new_zeros(images, queries, classes + 1)
    return one_hot.scatter(2, labels.view(images, queries, 1), 1)[..., :classes]


class L1Loss:
    """Sum of absolute differences of the normalised coordinates of assigned boxes."""

    name = "l1"

    def __init__(self, *, weight: float) -> None:
        self.weight = weight

    def __call__(self, predictions: PredictionSet, matched: MatchedPairs) -> Tensor:
        """Sum over the assigned pairs."""
        return (predictions.boxes[matched.image, matched.query] - matched.boxes).abs().sum()


class GIoULoss:
    """One minus the generalised IoU (arXiv 1902.09630) of assigned boxes.

    Args:
        weight: factor of the term.
        eps: added to the denominators; 1e-6 in the released code of DINO, 0 in that of Deformable DETR.
    """

    name = "giou"

    def __init__(self, *, weight: float, eps: float = 0.0) -> None:
        self.weight, self.eps = weight, eps

    def __call__(self, predictions: PredictionSet, matched: MatchedPairs) -> Tensor:
        """Sum over the assigned pairs."""
        predicted = cxcywh_to_xyxy(predictions.boxes[matched.image, matched.query])
        return (1 - generalized_iou(predicted, cxcywh_to_xyxy(matched.boxes), self.eps)).sum()
