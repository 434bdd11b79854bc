"""Loss terms, which return the loss of every query or of every assigned pair; the criterion sums and divides.

A term is computed once for all prediction sets of a rule, such as those of all layers and groups of the decoder.
"""

import torch
from torch import Tensor

from querydet.modeling.boxes import cxcywh_to_xyxy, generalized_iou
from querydet.modeling.layers.sigmoid_focal import focal_loss_of_queries
from querydet.structures import JoinedPredictions, MatchedPairs


class FocalLoss:
    """Sigmoid focal loss (arXiv 1708.02002) over all queries and classes.

    Unassigned queries are background in every class. A query with several objects has the class of the last one.

    Args:
        weight: factor of the loss.
        alpha: weight of a query's own class, from 0 to 1; the other classes have the rest.
        gamma: exponent that focuses the loss on hard queries, at least 0.
    """

    score_function = "sigmoid"

    def __init__(self, *, weight: float, alpha: float = 0.25, gamma: float = 2.0) -> None:
        self.weight, self.alpha, self.gamma = weight, alpha, gamma

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each query (B, Q), over all classes."""
        labels = class_of_queries(predictions.logits, matched)
        loss = focal_loss_of_queries(predictions.logits.flatten(0, 1), labels.flatten(), self.alpha, self.gamma)
        return loss.view(labels.shape)


def class_of_queries(logits: Tensor, matched: MatchedPairs) -> Tensor:
    """Return the class (B, Q) int64 of each query's last pair, or K where it has none, for logits (B, Q, K)."""
    images, queries, classes = logits.shape
    last = last_pairs(matched.image * queries + matched.query, images * queries)
    return torch.cat([matched.labels.new_full((1,), classes), matched.labels])[last].view(images, queries)


def last_pairs(place: Tensor, size: int) -> Tensor:
    """Return for each of `size` places one more than the index of the last of n pairs there, 0 where there is none.

    The result does not depend on the order in which a device writes.

    Args:
        place: (n,) int64, the place of each pair.
        size: number of places.
    """
    pair = torch.arange(1, len(place) + 1, device=place.device)
    return pair.new_zeros(size).scatter_reduce(0, place, pair, "amax")


class L1Loss:
    """Sum of absolute differences of the normalised coordinates of assigned boxes.

    Args:
        weight: factor of the loss.
    """

    reads_boxes = True

    def __init__(self, *, weight: float) -> None:
        self.weight = weight

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each pair (n,)."""
        return (predictions.boxes[matched.image, matched.query] - matched.boxes).abs().sum(1)


class GIoULoss:
    """One minus the generalised IoU (arXiv 1902.09630) of assigned boxes.

    Args:
        weight: factor of the loss.
        eps: added to the denominators; 1e-6 in the released code of DINO, 0 in that of Deformable DETR.
    """

    reads_boxes = True

    def __init__(self, *, weight: float, eps: float = 0.0) -> None:
        self.weight, self.eps = weight, eps

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each pair (n,)."""
        predicted = cxcywh_to_xyxy(predictions.boxes[matched.image, matched.query])
        return 1 - generalized_iou(predicted, cxcywh_to_xyxy(matched.boxes), self.eps)
