"""Slow oracles of assignment and losses, written from the papers' definitions with loops and no broadcasting."""

import itertools
import math

Box = list[float]


def corners(box: Box) -> Box:
    cx, cy, w, h = box
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def giou(box: Box, other: Box, eps: float) -> float:
    """Generalised IoU, arXiv 1902.09630, algorithm 1."""
    a, b = corners(box), corners(other)
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = box[2] * box[3] + other[2] * other[3] - width * height
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return width * height / (union + eps) - (hull - union) / (hull + eps)


def class_cost(logit: float, alpha: float = 0.25, gamma: float = 2.0) -> float:
    p = 1 / (1 + math.exp(-logit))
    return alpha * (1 - p) ** gamma * -math.log(p + 1e-8) - (1 - alpha) * p**gamma * -math.log(1 - p + 1e-8)


def cost(logit: float, box: Box, gt: Box, eps: float) -> float:
    """Two parts class, five parts L1, two parts GIoU."""
    distance = sum(abs(a - b) for a, b in zip(box, gt, strict=True))
    return 2 * class_cost(logit) + 5 * distance - 2 * giou(box, gt, eps)


def best_assignment(costs: list[list[float]]) -> tuple[float, tuple[int, ...]]:
    """Try every way to give each object (column) its own query (row): least total, and the query of each object."""
    objects = len(costs[0])
    ways = itertools.permutations(range(len(costs)), objects)
    return min((sum(costs[query][column] for column, query in enumerate(way)), way) for way in ways)


def focal_loss(logit: float, target: bool, alpha: float = 0.25, gamma: float = 2.0) -> float:
    """Focal loss of one binary decision, arXiv 1708.02002, equation 5."""
    p = 1 / (1 + math.exp(-logit))
    p_t, alpha_t = (p, alpha) if target else (1 - p, 1 - alpha)
    return -alpha_t * (1 - p_t) ** gamma * math.log(p_t)
