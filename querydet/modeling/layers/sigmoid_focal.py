"""Sigmoid focal loss of queries with at most one class each, without a matrix of targets.

Source: Lin et al., Focal Loss (arXiv 1708.02002), equation 5, with `p = sigmoid(x)`: the loss of a query's own class is
`alpha (1 - p)^gamma softplus(-x)`, that of every other class `(1 - alpha) p^gamma softplus(x)`. Q counts the queries of
all images.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

NUMBERS_AT_ONCE = {"cpu": 2**15}  # numbers that stay in the cache; on other devices, all are computed at once


def focal_loss_of_queries(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Compute the loss of each query, summed over the classes.

    Only the logits and labels are kept for the backward pass, which cannot be differentiated again.

    Args:
        logits: (Q, K).
        labels: (Q,) int64, the class of each query; K for a query that has none.
        alpha: weight of a query's own class, from 0 to 1; the other classes have the rest.
        gamma: exponent that focuses the loss on hard queries, at least 0.

    Returns:
        The loss (Q,) of each query.
    """
    loss: Tensor = _FocalLoss.apply(logits, labels, alpha, gamma)
    return loss


class _FocalLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
        ctx.save_for_backward(logits, labels)
        ctx.alpha, ctx.gamma = alpha, gamma
        loss = logits.new_empty(len(logits))
        for rows in _blocks(logits):
            loss[rows] = _background(logits[rows], gamma).sum(1)
        column, is_object = _own_class(logits, labels)
        own_logits = logits.gather(1, column)
        loss.mul_(1 - alpha)
        difference = alpha * _background(-own_logits, gamma) - (1 - alpha) * _background(own_logits, gamma)
        return loss.add_(torch.where(is_object, difference, 0)[:, 0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        logits, labels = ctx.saved_tensors
        grad = torch.empty_like(logits)
        for rows in _blocks(logits):
            grad[rows] = _background_slope(logits[rows], ctx.gamma).mul_(((1 - ctx.alpha) * grad_loss[rows])[:, None])
        column, is_object = _own_class(logits, labels)
        slope = -ctx.alpha * _background_slope(-logits.gather(1, column), ctx.gamma) * grad_loss[:, None]
        return grad.scatter_(1, column, torch.where(is_object, slope, grad.gather(1, column))), None, None, None


def _background(logits: Tensor, gamma: float) -> Tensor:
    """Compute `p^gamma softplus(x)` of logits x; of `-x`, it is the loss of a query's own class."""
    return logits.sigmoid().pow_(gamma).mul_(F.softplus(logits))


def _background_slope(logits: Tensor, gamma: float) -> Tensor:
    """Compute the derivative of `_background`, `p^gamma (gamma (1 - p) softplus(x) + p)`."""
    p = logits.sigmoid()
    return F.softplus(logits).mul_(gamma).mul_(1 - p).add_(p).mul_(p.pow_(gamma))


def _own_class(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the column (Q, 1) of each query's class, any column where it has none, and whether it has one (Q, 1)."""
    classes = logits.shape[1]
    return labels.clamp(max=classes - 1)[:, None], (labels < classes)[:, None]


def _blocks(logits: Tensor) -> Iterator[slice]:
    """Yield the runs of rows that are computed together."""
    step = max(1, NUMBERS_AT_ONCE.get(logits.device.type, logits.numel()) // max(1, logits.shape[1]))
    for start in range(0, len(logits), step):
        yield slice(start, start + step)
