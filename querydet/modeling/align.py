"""The losses of Align-DETR (arXiv 2304.07527): class targets that tell how good a box is.

The quality of an assigned pair is `max(p^alpha * IoU^(1 - alpha), floor)`, with p the probability of the object's class
and the IoU of the predicted box and the object. It has no gradient. Letters are those of `querydet.structures`; N
counts assigned pairs. The constants are those of the released code, which DAC-DETR (NeurIPS 2023) shares.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from querydet.modeling.boxes import box_iou, cxcywh_to_xyxy
from querydet.modeling.losses import last_pairs
from querydet.structures import JoinedPredictions, MatchedPairs


class IoUAwareClassLoss:
    """Binary cross-entropy towards the quality of the assigned box, over all queries and classes ("IA-BCE").

    The class of an assigned pair has the target t = quality times the weight of the pair: its loss is
    `-t log(p) - (1 - t) log(1 - p)`. All other classes of a query are background: `-p^gamma log(1 - p)`.
    A query with pairs of two classes has two targets; of two pairs of one class the last one listed counts.

    Args:
        weight: factor of the loss.
        alpha: exponent of the probability in the quality, from 0 to 1; that of the IoU is 1 - alpha.
        gamma: exponent that focuses the background on hard queries, at least 0.
        floor: least quality.
        iou_eps: added to the union; 1e-6 in Align-DETR, 0 in DAC-DETR.

    Raises:
        ValueError: for alpha or floor outside [0, 1].
    """

    score_function = "sigmoid"
    reads_boxes = True
    aligns_quality = True

    def __init__(
        self, *, weight: float, alpha: float = 0.25, gamma: float = 2.0, floor: float = 0.01, iou_eps: float = 0.0
    ) -> None:
        _check(alpha, floor)
        self.weight, self.alpha, self.gamma = weight, alpha, gamma
        self.floor, self.iou_eps = floor, iou_eps

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each query (B, Q), over all classes."""
        logits = predictions.logits
        queries, classes = logits.shape[1:]
        target = quality(predictions, matched, self.alpha, self.floor, self.iou_eps)
        if matched.weights is not None:
            target = target * matched.weights
        place = (matched.image * queries + matched.query) * classes + matched.labels
        last = last_pairs(place, logits.numel()).view_as(logits)
        positive = torch.cat([target.new_zeros(1), target])[last]
        negative = torch.where(last > 0, 1 - positive, logits.sigmoid() ** self.gamma)
        # the logarithm of a sigmoid in float32 is infinite from logits of 17 on; logsigmoid is not
        return -(positive * F.logsigmoid(logits) + negative * F.logsigmoid(-logits)).sum(-1)


class RankWeights:
    """Weights of the pairs of an object by their rank: `exp(-rank / tau)` ("prime sample weighting", Align-DETR).

    The pair of highest quality has rank 0 and weighs 1. Of equal ones the query with the lower index comes first.

    Args:
        tau: how slowly the weights fall; 1.5 in the released configurations.
        alpha, floor, iou_eps: of the quality, see `IoUAwareClassLoss`.

    Raises:
        ValueError: for a tau that is not above 0, or alpha or floor outside [0, 1].
    """

    def __init__(self, *, tau: float = 1.5, alpha: float = 0.25, floor: float = 0.01, iou_eps: float = 0.0) -> None:
        _check(alpha, floor)
        if not tau > 0:
            raise ValueError(f"tau must be above 0, found {tau}")
        self.tau, self.alpha, self.floor, self.iou_eps = tau, alpha, floor, iou_eps

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the weight of each pair (N,)."""
        values = quality(predictions, matched, self.alpha, self.floor, self.iou_eps)
        return (-ranks(values, matched.object, matched.query) / self.tau).exp().to(values.dtype)


@torch.no_grad()
def quality(
    predictions: JoinedPredictions, matched: MatchedPairs, alpha: float, floor: float, iou_eps: float = 0.0
) -> Tensor:
    """Return the quality of each pair (N,), see the module; the other arguments are those of `IoUAwareClassLoss`."""
    probability = predictions.logits[matched.image, matched.query, matched.labels].sigmoid()
    predicted = cxcywh_to_xyxy(predictions.boxes[matched.image, matched.query])
    iou = box_iou(predicted, cxcywh_to_xyxy(matched.boxes), iou_eps)
    return (probability**alpha * iou ** (1 - alpha)).clamp(min=floor)


def ranks(values: Tensor, owners: Tensor, ties: Tensor) -> Tensor:
    """Return the place of each value among those of its owner, by falling value, from 0 on.

    Args:
        values: (N,).
        owners: (N,) int64.
        ties: (N,), decides between equal values of an owner: the lower one comes first.

    Returns:
        (N,) int64.
    """
    order = ties.argsort(stable=True)
    order = order[values[order].argsort(stable=True, descending=True)]
    order = order[owners[order].argsort(stable=True)]
    place, sorted_owners = torch.arange(len(values), device=values.device), owners[order]
    starts = torch.ones_like(sorted_owners, dtype=torch.bool)
    starts[1:] = sorted_owners[1:] != sorted_owners[:-1]
    first = (place * starts).cummax(0).values if len(values) else place
    return torch.empty_like(place).scatter(0, order, place - first)


def _check(alpha: float, floor: float) -> None:
    if not (0 <= alpha <= 1 and 0 <= floor <= 1):
        raise ValueError(f"alpha and floor must lie in [0, 1], found {alpha} and {floor}")
