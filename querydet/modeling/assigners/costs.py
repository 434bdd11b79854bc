"""What classes cost in assigning a query to an object (DETR, arXiv 2005.12872, section 3.1; focal: Deformable DETR).

What boxes cost is an operator, `querydet.ops.matching_cost`. Costs are (..., T, Q): T objects of an image by Q
queries, with any dimensions before, such as layers and groups. Rows are objects, of which there are few, and queries
lie side by side, which suits both a vector unit and the solver.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

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
