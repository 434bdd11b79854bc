"""Box arithmetic shared by the detector, the matcher and the losses.

Boxes are `(cx, cy, w, h)` normalised by the unpadded image unless a name ends in `_xyxy`, `_abs` (pixels) or
`_unsigmoid` (logit space).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def full_precision(values: Tensor) -> Tensor:
    """Convert to at least float32: boxes, logits, costs and losses are never 16 bit, also where the model is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def in_full_precision(module: nn.Module, values: Tensor) -> Tensor:
    """Apply a prediction head outside of autocast, in the precision of its weights; the result is at least float32.

    In bfloat16 the scores of neighbouring proposals would be equal, and boxes would move by whole pixels.
    """
    with outside_of_autocast(values.device):
        first = next(module.parameters(), None)  # a fused module has none, and converts its input itself
        return full_precision(module(values if first is None else values.to(first.dtype)))


def outside_of_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which autocast changes nothing, on any device."""
    available = torch.amp.is_autocast_available(device.type)  # not on the meta device, where models are counted
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


def inverse_sigmoid(values: Tensor, eps: float) -> Tensor:
    """Map normalised coordinates to logit space, clipped near 0 and 1.

    `log(max(c, eps) / max(1 - c, eps))` with `c` = `values` clipped to [0, 1]. The result lies within
    `+-log(1 / eps)` and its gradient is zero outside `[eps, 1 - eps]`.

    Args:
        values: any shape, normalised coordinates.
        eps: clipping constant; the released code of DINO has 1e-3, that of Deformable DETR 1e-5. A trained checkpoint
            predicts other boxes near the image border with another one.
    """
    values = values.clamp(min=0, max=1)
    return torch.log(values.clamp(min=eps) / (1 - values).clamp(min=eps))


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from centre and size to two corners, in any unit."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - 0.5 * size, centre + 0.5 * size], dim=-1)


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """Convert boxes (..., 4) from two corners to centre and size, in any unit."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat([0.5 * (low + high), high - low], dim=-1)


def refine_boxes(deltas: Tensor, reference: Tensor, eps: float) -> Tensor:
    """Move reference boxes (or points) by predicted offsets in logit space.

    Iterative bounding box refinement of Deformable DETR (arXiv 2010.04159, appendix A.4):
    `sigmoid(delta + inverse_sigmoid(reference))`. A point has no size, so that the predicted size is absolute then.

    Args:
        deltas: (..., 4) offsets in logit space.
        reference: (..., 4) normalised boxes or (..., 2) normalised points.
        eps: clipping constant of `inverse_sigmoid`.

    Returns:
        (..., 4) normalised boxes.
    """
    base = inverse_sigmoid(reference, eps)
    if base.shape[-1] == 2:
        base = torch.cat([base, torch.zeros_like(base)], dim=-1)
    return (deltas + base).sigmoid()


def box_iou(boxes_xyxy: Tensor, others_xyxy: Tensor, eps: float = 0.0) -> Tensor:
    """Compute the IoU of boxes with others, pair by pair; 0 where both have no area.

    Args:
        boxes_xyxy: (..., 4); for all pairs of n boxes with N others, (n, 1, 4) ...
        others_xyxy: (..., 4); ... and (1, N, 4).
        eps: added to the union: 0 in torchvision and the released code of DETA, 1e-6 in detrex.

    Returns:
        (...), in [0, 1].
    """
    intersection, union = _overlap(boxes_xyxy, others_xyxy)
    return (intersection / (union + eps)).nan_to_num(0.0)


def generalized_iou(boxes_xyxy: Tensor, others_xyxy: Tensor, eps: float = 0.0) -> Tensor:
    """Compute the generalised IoU (arXiv 1902.09630) of boxes with others, pair by pair.

    torchvision has two forms of it: one takes no `eps`, while the released code of DINO adds 1e-6 to both denominators;
    the other makes the host wait for the device at every call.

    Args:
        boxes_xyxy: (..., 4); for all pairs of n boxes with N others, (n, 1, 4) ...
        others_xyxy: (..., 4); ... and (1, N, 4).
        eps: added to the union and to the enclosing area.

    Returns:
        (...), in [-1, 1].
    """
    intersection, union = _overlap(boxes_xyxy, others_xyxy)
    hull_low = torch.minimum(boxes_xyxy[..., :2], others_xyxy[..., :2])
    hull_high = torch.maximum(boxes_xyxy[..., 2:], others_xyxy[..., 2:])
    hull = (hull_high - hull_low).clamp(min=0).prod(-1)
    return intersection / (union + eps) - (hull - union) / (hull + eps)


def _overlap(boxes_xyxy: Tensor, others_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the areas (...) of intersection and union of boxes with others, pair by pair."""
    area = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).prod(-1)
    other_area = (others_xyxy[..., 2:] - others_xyxy[..., :2]).prod(-1)
    low = torch.maximum(boxes_xyxy[..., :2], others_xyxy[..., :2])
    high = torch.minimum(boxes_xyxy[..., 2:], others_xyxy[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    return intersection, area + other_area - intersection
