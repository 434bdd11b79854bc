"""Boxes: inverse sigmoid, corners and overlaps, as the released codes compute them."""

import torch
from torch import Tensor


def inverse_sigmoid(values: Tensor, eps: float) -> Tensor:
    """Logits of values that are clipped to [0, 1], with both sides of the ratio at least eps."""
    clipped = values.clamp(0, 1)
    return torch.log(clipped.clamp(min=eps) / (1 - clipped).clamp(min=eps))


def corners(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) as (x0, y0, x1, y1)."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlaps(first: Tensor, second: Tensor, eps: float = 0.0) -> tuple[Tensor, Tensor]:
    """IoU and union of boxes with the boxes of the same rows, all by corners."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = _areas(first) + _areas(second) - shared
    return shared / (union + eps), union


def giou(first: Tensor, second: Tensor, eps: float) -> Tensor:
    """Generalised IoU of boxes (cx, cy, w, h) with those of the same rows."""
    first, second = corners(first), corners(second)
    iou, union = overlaps(first, second, eps)
    low, high = torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:])
    hull = (high - low).clamp(min=0).prod(-1)
    return iou - (hull - union) / (hull + eps)


def iou_table(objects: Tensor, boxes: Tensor) -> Tensor:
    """IoU of every object (G, 4) with every box (N, 4), both (cx, cy, w, h)."""
    rows = [overlaps(corners(one).expand(len(boxes), 4), corners(boxes))[0] for one in objects]
    return torch.stack(rows) if rows else boxes.new_zeros(0, len(boxes))


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Non-maximum suppression by definition: indices of what is kept, best first; boxes by corners."""
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if bool((overlaps(boxes[index].expand(len(kept), 4), boxes[kept])[0] <= threshold).all()):
            kept.append(index)
    return kept
