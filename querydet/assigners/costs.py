"""Costs of assigning a query to an object (DETR, arXiv 2005.12872, section 3.1; focal form: Deformable DETR).

Costs are (..., T, Q): T objects of an image by Q queries, with any dimensions before, such as layers and groups. Rows
are objects, of which there are few, and queries lie side by side, which suits both a vector unit and the solver.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from querydet.boxes import cxcywh_to_xyxy

LOG_EPS = 1e-8  # inside the logarithms (released code)


def focal_cost(logits: Sequence[Tensor], labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """How much more a positive target would cost than a negative one, (n, T, Q): n times (Q, K), labels (T,)."""
    few = len(labels) < logits[0].shape[-1]  # no class is computed twice, and no more of them than there are objects
    chosen = torch.stack([each.T.index_select(0, labels) if few else each.T for each in logits])
    probability = chosen.sigmoid_()
    opposite = 1 - probability
    positive = (opposite**gamma).mul_(alpha).mul_((probability + LOG_EPS).log_().neg_())
    negative = (probability**gamma).mul_(1 - alpha).mul_(opposite.add_(LOG_EPS).log_().neg_())
    cost = positive.sub_(negative)
    return cost if few else cost.index_select(1, labels)


def l1_cost(boxes: Tensor, others: Tensor) -> Tensor:
    """Sum of absolute coordinate differences, (..., T, Q), from boxes (..., Q, 4) and objects (T, 4)."""
    cost = torch.zeros((), dtype=boxes.dtype, device=boxes.device)
    for query, item in zip(_by_query(boxes), _by_object(others), strict=True):
        cost = (query - item).abs_().add_(cost)
    return cost


def giou_cost(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    """Negative generalised IoU, (..., T, Q), from boxes (..., Q, 4) and objects (T, 4).

    The numbers of :func:`querydet.boxes.generalized_iou`, coordinate by coordinate: with the four of a box side by
    side, pairs would be computed two numbers at a time.
    """
    query, item = _by_query(cxcywh_to_xyxy(boxes)), _by_object(cxcywh_to_xyxy(others))
    widths, hulls = [], []
    for low, high in ((0, 2), (1, 3)):
        overlap = torch.minimum(query[high], item[high]).sub_(torch.maximum(query[low], item[low]))
        widths.append(overlap.clamp_(min=0))
        hull = torch.maximum(query[high], item[high]).sub_(torch.minimum(query[low], item[low]))
        hulls.append(hull.clamp_(min=0))
    intersection, hull = widths[0].mul_(widths[1]), hulls[0].mul_(hulls[1])
    area, other_area = ((each[2] - each[0]) * (each[3] - each[1]) for each in (query, item))
    union = (area + other_area).sub_(intersection)
    outside = (hull - union).div_(hull.add_(eps))
    return outside.sub_(intersection.div_(union.add_(eps)))


def _by_query(boxes: Tensor) -> tuple[Tensor, ...]:
    """The four coordinates of boxes (..., Q, 4), each (..., 1, Q)."""
    return boxes.transpose(-1, -2).contiguous().unsqueeze(-2).unbind(-3)


def _by_object(boxes: Tensor) -> tuple[Tensor, ...]:
    """The four coordinates of boxes (T, 4), each (T, 1)."""
    return boxes.T.unsqueeze(-1).unbind(0)
