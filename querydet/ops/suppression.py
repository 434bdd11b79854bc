"""Non-maximum suppression of several groups of boxes at once: the operator `querydet::suppress`.

The result of torchvision's `nms` has as many entries as boxes are kept, so that the host waits for the device, and a
model that calls it can neither be counted on the meta device nor be exported for batches of any size. Here the result
is a mask. The kernels of the compiled extension (`suppression_cpu.cpp`, `suppression.cuh`) do not synchronise; they are
tested against the definition, image by image and group by group with torchvision, which runs where there is no kernel.
"""

import torch
from torch import Tensor
from torchvision.ops import nms

from querydet.ops import native  # loads the extension, if there is one

OPERATOR = "querydet::suppress"
# Equal to the schema in ops/csrc/schema.cpp: the operator is defined here if the extension was not built.
_SCHEMA = "suppress(Tensor boxes_xyxy, Tensor scores, float iou_threshold) -> Tensor"
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def suppress(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppress boxes whose IoU with a better box of the same image and group exceeds a threshold.

    Of two equal scores the earlier one is better. A box that is not finite neither suppresses others nor is suppressed;
    no argument gets a gradient. The IoU of 16-bit boxes is computed in float32.

    Args:
        boxes_xyxy: (B, N, 4).
        scores: (B, G, N), of each box in each group; minus infinity or NaN removes a box from the group.
        iou_threshold: largest IoU of two kept boxes, in [0, 1].

    Returns:
        (B, G, N) bool, True where a box is kept; False for suppressed and removed boxes.

    Raises:
        ValueError: boxes or scores have another shape or dtype or are on different devices, or the threshold is outside
            of [0, 1].
    """
    check_arguments(boxes_xyxy, scores, iou_threshold)
    return torch.ops.querydet.suppress(boxes_xyxy, scores, iou_threshold)


def check_arguments(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> None:
    """Raise ValueError, naming the offending argument, unless the arguments of the operator fit together."""
    boxes_shape, shape = tuple(boxes_xyxy.shape), tuple(scores.shape)
    if len(boxes_shape) != 3 or boxes_shape[-1] != 4:
        raise ValueError(f"boxes_xyxy must be (B, N, 4), but are of shape {boxes_shape}")
    if len(shape) != 3 or shape[0] != boxes_shape[0] or shape[2] != boxes_shape[1]:
        raise ValueError(f"scores must be ({boxes_shape[0]}, G, {boxes_shape[1]}) for boxes_xyxy, but are {shape}")
    for name, dtype in (("boxes_xyxy", boxes_xyxy.dtype), ("scores", scores.dtype)):
        if dtype not in _DTYPES:
            raise ValueError(f"{name} must be float32, float64, bfloat16 or float16, but are {dtype}")
    if boxes_xyxy.device != scores.device:
        raise ValueError(f"boxes_xyxy are on {boxes_xyxy.device} and scores on {scores.device}: move one of them")
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be in [0, 1], found {iou_threshold}")


def suppress_reference(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Compute the operator with torchvision's `nms` for each image and group; see `suppress`."""
    wide = torch.float64 in (boxes_xyxy.dtype, scores.dtype)
    boxes, values = (tensor.to(torch.float64 if wide else torch.float32) for tensor in (boxes_xyxy, scores))
    kept = torch.zeros_like(scores, dtype=torch.bool, memory_format=torch.contiguous_format)
    for image_boxes, image_scores, image_kept in zip(boxes, values, kept, strict=True):
        # group by group: one call with boxes shifted per group would round their IoU
        for group_scores, group_kept in zip(image_scores, image_kept, strict=True):
            rows = (group_scores > -torch.inf).nonzero()[:, 0]
            group_kept[rows[nms(image_boxes[rows], group_scores[rows], iou_threshold)]] = True
    return kept


def _definition(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    check_arguments(boxes_xyxy, scores, iou_threshold)
    return suppress_reference(boxes_xyxy, scores, iou_threshold)


def _fake(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    check_arguments(boxes_xyxy, scores, iou_threshold)
    return scores.new_empty(scores.shape, dtype=torch.bool)


_LIBRARY = native.define_operator(_SCHEMA, _definition, _fake)
