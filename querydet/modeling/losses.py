"""Loss terms: losses of every query, or of every assigned pair. The criterion sums and divides.

The prediction sets of a rule, such as those of all layers and groups of the decoder, are joined first.
"""

import torch
from torch import Tensor

from querydet.modeling.boxes import cxcywh_to_xyxy, generalized_iou
from querydet.modeling.layers.sigmoid_focal import focal_loss_of_queries
from querydet.structures import JoinedPredictions, MatchedPairs


class FocalLoss:
    """Sigmoid focal loss (arXiv 1708.02002) over all queries and classes.

    Unassigned queries are background in every class, and ignored ones have no loss. A query of several pairs has the
    class of the last.

    Args:
        weight: factor of the term.
        alpha, gamma: balance and focus.
    """

    score_function = "sigmoid"

    def __init__(self, *, weight: float, alpha: float = 0.25, gamma: float = 2.0) -> None:
        self.weight, self.alpha, self.gamma = weight, alpha, gamma

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each query (B, Q), over all classes."""
        labels = class_of_queries(predictions.logits, matched)
        loss = focal_loss_of_queries(predictions.logits.flatten(0, 1), labels.flatten(), self.alpha, self.gamma)
        loss = loss.view(labels.shape)
        return loss if matched.ignored is None else loss.masked_fill(matched.ignored, 0)


def class_of_queries(logits: Tensor, matched: MatchedPairs) -> Tensor:
    """Return (B, Q) int64 for logits (B, Q, K): the class of a query's last pair, or K where it has none.

    The result does not depend on the order in which a device writes.
    """
    images, queries, classes = logits.shape
    place = torch.arange(1, len(matched.query) + 1, device=logits.device)
    last = place.new_zeros(images * queries)
    last = last.scatter_reduce(0, matched.image * queries + matched.query, place, "amax")
    return torch.cat([matched.labels.new_full((1,), classes), matched.labels])[last].view(images, queries)


class L1Loss:
    """Sum of absolute differences of the normalised coordinates of assigned boxes."""

    def __init__(self, *, weight: float) -> None:
        self.weight = weight

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each pair (n,)."""
        return (predictions.boxes[matched.image, matched.query] - matched.boxes).abs().sum(1)


class GIoULoss:
    """One minus the generalised IoU (arXiv 1902.09630) of assigned boxes.

    Args:
        weight: factor of the term.
        eps: added to the denominators; 1e-6 in the released code of DINO, 0 in that of Deformable DETR.
    """

    def __init__(self, *, weight: float, eps: float = 0.0) -> None:
        self.weight, self.eps = weight, eps

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each pair (n,)."""
        predicted = cxcywh_to_xyxy(predictions.boxes[matched.image, matched.query])
        return 1 - generalized_iou(predicted, cxcywh_to_xyxy(matched.boxes), self.eps)
