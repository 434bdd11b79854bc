"""What boxes add to the costs of matching: the operator ``querydet::matching_cost``.

The L1 distance and the generalised IoU are some forty short operators of PyTorch, each of which goes through all pairs
of queries and objects. The CPU kernel (``ops/csrc/cpu/matching_cost_cpu.cpp``) goes through them once; the definition,
which runs everywhere else, is what it is tested against, bit by bit.
"""

import torch
from torch import Tensor

from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.ops import native  # loads the extension, if there is one

# The same words stand in ops/csrc/schema.cpp: the operator is defined here where it was not built.
_SCHEMA = (
    "matching_cost(Tensor class_cost, Tensor boxes, Tensor gt_boxes, float l1_weight, float giou_weight,"
    " float giou_eps) -> Tensor"
)


def matching_cost(
    class_cost: Tensor, boxes: Tensor, gt_boxes: Tensor, l1_weight: float, giou_weight: float, giou_eps: float
) -> Tensor:
    """Costs of classes and boxes together; nothing has a gradient.

    Args:
        class_cost: (n, T, Q) float32 or float64, of n sets of queries and the objects of an image.
        boxes: (n, Q, 4), of the queries.
        gt_boxes: (T, 4), of the objects.
        l1_weight: of the sum of absolute coordinate differences.
        giou_weight: of the negative generalised IoU (arXiv 1902.09630).
        giou_eps: added to the denominators of the IoU.

    Returns:
        (n, T, Q), in the type of ``class_cost``.

    Raises:
        ValueError: tensors of other shapes.
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
    """What the operator computes, by PyTorch's operators; see :func:`matching_cost`."""
    boxes, gt_boxes = boxes.to(class_cost.dtype), gt_boxes.to(class_cost.dtype)
    cost = class_cost + l1_cost(boxes, gt_boxes).mul_(l1_weight)
    return cost.add_(giou_cost(boxes, gt_boxes, giou_eps).mul_(giou_weight))


def l1_cost(boxes: Tensor, others: Tensor) -> Tensor:
    """Sum of absolute coordinate differences, (..., T, Q), from boxes (..., Q, 4) and objects (T, 4)."""
    cost = torch.zeros((), dtype=boxes.dtype, device=boxes.device)
    for query, item in zip(_by_query(boxes), _by_object(others), strict=True):
        cost = (query - item).abs_().add_(cost)
    return cost


def giou_cost(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    """Negative generalised IoU, (..., T, Q), from boxes (..., Q, 4) and objects (T, 4).

    The numbers of :func:`querydet.modeling.boxes.generalized_iou`, coordinate by coordinate: with the four of a box
    side by side, pairs would be computed two numbers at a time.
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


def _fake(
    class_cost: Tensor, boxes: Tensor, gt_boxes: Tensor, l1_weight: float, giou_weight: float, giou_eps: float
) -> Tensor:
    return class_cost.new_empty(class_cost.shape)


_LIBRARY = native.define_operator(_SCHEMA, matching_cost_reference, _fake)
