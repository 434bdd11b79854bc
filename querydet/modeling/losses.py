"""Loss terms: what every query, or every assigned pair, costs. The criterion sums and divides.

The prediction sets of a rule, such as all layers and groups of the decoder, are joined and measured together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from querydet.modeling.boxes import cxcywh_to_xyxy, generalized_iou
from querydet.modeling.layers.sigmoid_focal import focal_loss_of_queries
from querydet.structures import Assignment, PredictionSet, Targets
from querydet.utils.transfer import send


@dataclass(frozen=True, slots=True)
class JoinedPredictions:
    """The queries of several prediction sets, one set after the other."""

    logits: Tensor  # (B, Q, K)
    boxes: Tensor  # (B, Q, 4)
    sizes: tuple[int, ...]  # queries of each set


@dataclass(frozen=True, slots=True)
class MatchedPairs:
    """The assigned (query, object) pairs of all sets and images, those of a set one after the other."""

    image: Tensor  # (n,) int64
    query: Tensor  # (n,) int64, among the joined queries
    labels: Tensor  # (n,) int64, of the objects
    boxes: Tensor  # (n, 4), of the objects
    counts: tuple[int, ...]  # pairs of each set
    ignored: Tensor | None = None  # (B, Q) bool, True for queries without any loss; None: there are none


def join(
    predictions: Sequence[PredictionSet], assigned: Sequence[tuple[Assignment, ...]], targets: Targets
) -> tuple[JoinedPredictions, MatchedPairs]:
    """Joins prediction sets of the same images and classes, and their assignments.

    Args:
        predictions: at least one set.
        assigned: of each set, the assignment of each image.
        targets: the objects that are assigned.
    """
    sizes = tuple(each.boxes.shape[1] for each in predictions)
    joined = JoinedPredictions(
        logits=_cat([each.logits for each in predictions]),
        boxes=_cat([each.boxes for each in predictions]),
        sizes=sizes,
    )
    flat = [each for images in assigned for each in images]
    image, first_query, first_object = _expand(
        [
            (image, query, start)
            for query, images in zip(accumulate(sizes, initial=0), assigned, strict=False)
            for image, (_, start) in enumerate(zip(images, accumulate(targets.counts, initial=0), strict=False))
        ],
        [len(each.queries) for each in flat],
        joined.logits.device,
    )
    objects = torch.cat([each.objects for each in flat]) + first_object
    pairs = MatchedPairs(
        image=image,
        query=torch.cat([each.queries for each in flat]) + first_query,
        labels=torch.cat(targets.labels)[objects],
        boxes=torch.cat(targets.boxes)[objects],
        counts=tuple(sum(len(each.queries) for each in images) for images in assigned),
        ignored=_join_ignored(assigned, sizes),
    )
    return joined, pairs


def _cat(tensors: list[Tensor]) -> Tensor:
    """(B, Q, ...) of all sets; a single one is not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, 1)


def _expand(rows: list[tuple[int, int, int]], lengths: list[int], device: torch.device) -> tuple[Tensor, ...]:
    """Three numbers of each assignment for each of its pairs, made on the host and sent in one copy."""
    numbers = torch.tensor(rows, dtype=torch.int64).view(-1, 3)
    return send(numbers.repeat_interleave(torch.tensor(lengths), 0).T.contiguous(), device).unbind()


def _join_ignored(assigned: Sequence[tuple[Assignment, ...]], sizes: Sequence[int]) -> Tensor | None:
    masks = [each.ignored for images in assigned for each in images]
    some = next((mask for mask in masks if mask is not None), None)
    if some is None:
        return None
    return torch.cat(
        [
            torch.stack([some.new_zeros(size) if each.ignored is None else each.ignored for each in images])
            for images, size in zip(assigned, sizes, strict=True)
        ],
        1,
    )


def sum_parts(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Sums of consecutive parts of (N,) values: (n,) for n lengths that add up to N."""
    if len(set(lengths)) == 1:
        return values.view(len(lengths), -1).sum(1)
    return torch.stack([part.sum() for part in values.split(list(lengths))])


class LossTerm(Protocol):
    """A named and weighted loss."""

    name: str
    weight: float

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each query (B, Q), or of each pair (n,), not yet weighted."""


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

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Of each query (B, Q), over all classes."""
        labels = class_of_queries(predictions.logits, matched)
        loss = focal_loss_of_queries(predictions.logits.flatten(0, 1), labels.flatten(), self.alpha, self.gamma)
        loss = loss.view(labels.shape)
        return loss if matched.ignored is None else loss.masked_fill(matched.ignored, 0)


def class_of_queries(logits: Tensor, matched: MatchedPairs) -> Tensor:
    """(B, Q) int64 for logits (B, Q, K): the class of a query's last pair, whatever order a device writes in; or K."""
    images, queries, classes = logits.shape
    place = torch.arange(1, len(matched.query) + 1, device=logits.device)
    last = place.new_zeros(images * queries)
    last = last.scatter_reduce(0, matched.image * queries + matched.query, place, "amax")
    return torch.cat([matched.labels.new_full((1,), classes), matched.labels])[last].view(images, queries)


class L1Loss:
    """Sum of absolute differences of the normalised coordinates of assigned boxes."""

    name = "l1"

    def __init__(self, *, weight: float) -> None:
        self.weight = weight

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Of each pair (n,)."""
        return (predictions.boxes[matched.image, matched.query] - matched.boxes).abs().sum(1)


class GIoULoss:
    """One minus the generalised IoU (arXiv 1902.09630) of assigned boxes.

    Args:
        weight: factor of the term.
        eps: added to the denominators; 1e-6 in the released code of DINO, 0 in that of Deformable DETR.
    """

    name = "giou"

    def __init__(self, *, weight: float, eps: float = 0.0) -> None:
        self.weight, self.eps = weight, eps

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Of each pair (n,)."""
        predicted = cxcywh_to_xyxy(predictions.boxes[matched.image, matched.query])
        return 1 - generalized_iou(predicted, cxcywh_to_xyxy(matched.boxes), self.eps)
