"""Class costs of assigning a query to an object (DETR, arXiv 2005.12872, section 3.1; focal: Deformable DETR).

Box costs are an operator, `querydet.ops.matching_cost`. Costs are (..., T, Q): a row per object, a column per query;
leading dimensions are, for example, layers and groups. There are few objects and many queries, so that rows are long
and contiguous. Vector instructions and the solver are fastest on such rows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

LOG_EPS = 1e-8  # inside the logarithms (released code)


def focal_cost(logits: Sequence[Tensor], labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """Compute the focal loss of a query as an object of a class, less that as background (Deformable DETR).

    Args:
        logits: of n prediction sets, (Q, K) each.
        labels: (T,), classes of the objects.
        alpha: weight of a query's own class, from 0 to 1.
        gamma: exponent of the focal loss.

    Returns:
        Costs (n, T, Q).
    """
    few = len(labels) < logits[0].shape[-1]  # computes the classes of the objects, or all where these are fewer
    chosen = torch.stack([rows.T.index_select(0, labels) if few else rows.T for rows in logits])
    probability = chosen.sigmoid_()
    opposite = 1 - probability
    positive = (opposite**gamma).mul_(alpha).mul_((probability + LOG_EPS).log_().neg_())
    negative = (probability**gamma).mul_(1 - alpha).mul_(opposite.add_(LOG_EPS).log_().neg_())
    cost = positive.sub_(negative)
    return cost if few else cost.index_select(1, labels)
