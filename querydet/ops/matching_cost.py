"""Box terms of the matching cost in one pass: the operator `querydet::matching_cost`.

The L1 distance and the generalised IoU take some forty short operators of PyTorch, each of which reads all pairs of
queries and objects. The CPU kernel (`ops/csrc/cpu/matching_cost_cpu.cpp`) reads them once; it is tested bit by bit
against the definition, which runs everywhere else.
"""

import torch
from torch import Tensor

from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.ops import native  # loads the extension, if there is one

# Equal to the schema in ops/csrc/schema.cpp: the operator is defined here if the extension was not built.
_SCHEMA = (
    "matching_cost(Tensor class_cost, Tensor boxes, Tensor gt_boxes, float l1_weight, float giou_weight,"
    " float giou_eps) -> Tensor"
)


def matching_cost(
    class_cost: Tensor, boxes: Tensor, gt_boxes: Tensor, l1_weight: float, giou_weight: float, giou_eps: float
) -> Tensor:
    """Add the weighted box costs to the class cost; no argument gets a gradient.

    Args:
        class_cost: (n, T, Q) float32 or float64, for n sets of queries and the objects of an image.
        boxes: (n, Q, 4), predicted, normalised cxcywh.
        gt_boxes: (T, 4), of the objects, normalised cxcywh.
        l1_weight: factor of the sum of absolute coordinate differences.
        giou_weight: factor of the negative generalised IoU (arXiv 1902.09630).
        giou_eps: added to the denominators of the IoU.

    Returns:
        (n, T, Q), in the dtype of `class_cost`.

    Raises:
        ValueError: the shapes do not fit together.
    """
    sets, objects, queries = class_cost.shape
    if boxes.shape != (sets, queries, 4) or gt_boxes.shape != (objects, 4):
        raise ValueError(
            f"class_cost {tuple(class_cost.shape)} needs boxes {(sets, queries, 4)} and gt_boxes {(objects, 4)}, found "
            f"{tuple(boxes.shape)} and {tuple(gt_boxes.shape)}"
        )
    return torch.ops.querydet.matching_cost(class_cost, boxes, gt_boxes, l1_weight, giou_weight, giou_eps)


def matching_cost_reference(
    class_cost: Tensor, boxes: Tensor, gt_boxes: Tensor, l1_weight: float, giou_weight: float, giou_eps: float
) -> Tensor:
    """Compute the operator with PyTorch's own operators; see `matching_cost`."""
    boxes, gt_boxes = boxes.to(class_cost.dtype), gt_boxes.to(class_cost.dtype)
    cost = class_cost + l1_cost(boxes, gt_boxes).mul_(l1_weight)
    return cost.add_(giou_cost(boxes, gt_boxes, giou_eps).mul_(giou_weight))


def l1_cost(boxes: Tensor, others: Tensor) -> Tensor:
    """Sum absolute coordinate differences to (..., T, Q), from boxes (..., Q, 4) and objects (T, 4)."""
    cost = torch.zeros((), dtype=boxes.dtype, device=boxes.device)
    for query, item in zip(_by_query(boxes), _by_object(others), strict=True):
        cost = (query - item).abs_().add_(cost)
    return cost


def giou_cost(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    """Compute the negative generalised IoU (..., T, Q), from boxes (..., Q, 4) and objects (T, 4).

    The result is that of `boxes.generalized_iou`, computed coordinate by coordinate: with the four coordinates of a box
    next to each other in memory, vector instructions would process two numbers at a time.
    """
    query, item = _by_query(cxcywh_to_xyxy(boxes)), _by_object(cxcywh_to_xyxy(others))
    widths, hulls = [], []
    for low, high in ((0, 2), (1, 3)):
        overlap = torch.minimum(query[high], item[high]).sub_(torch.maximum(query[low], item[low]))
        widths.append(overlap.clamp_(min=0))
        hull = torch.maximum(query[high], item[high]).sub_(torch.minimum(query[low], item[low]))
        hulls.append(hull.clamp_(min=0))
    intersection, hull = widths[0].mul_(widths[1]), hulls[0].mul_(hulls[1])
    area, other_area = ((box[2] - box[0]) * (box[3] - box[1]) for box in (query, item))
    union = (area + other_area).sub_(intersection)
    outside = (hull - union).div_(hull.add_(eps))
    return outside.sub_(intersection.div_(union.add_(eps)))


def _by_query(boxes: Tensor) -> tuple[Tensor, ...]:
    """Split boxes (..., Q, 4) into four coordinates, each (..., 1, Q)."""
    return boxes.transpose(-1, -2).contiguous().unsqueeze(-2).unbind(-3)


def _by_object(boxes: Tensor) -> tuple[Tensor, ...]:
    """Split boxes (T, 4) into four coordinates, each (T, 1)."""
    return boxes.T.unsqueeze(-1).unbind(0)


def _fake(
    class_cost: Tensor, boxes: Tensor, gt_boxes: Tensor, l1_weight: float, giou_weight: float, giou_eps: float
) -> Tensor:
    return class_cost.new_empty(class_cost.shape)


_LIBRARY = native.define_operator(_SCHEMA, matching_cost_reference, _fake)
