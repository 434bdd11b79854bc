"""Non-maximum suppression of several groups of boxes at once, as an operator whose result has a fixed shape.

What torchvision's ``nms`` returns has as many entries as boxes are left, so that a model which calls it can neither be
counted on the meta device nor be exported for batches of any size. Here the answer is a mask.
"""

import torch
from torch import Tensor
from torchvision.ops import nms

OPERATOR = "querydet::suppress"


@torch.library.custom_op(OPERATOR, mutates_args=())
def suppress(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Drop boxes that overlap a better one of the same image and group by more than a threshold.

    Of equal scores the earlier one is the better.

    Args:
        boxes_xyxy: (B, N, 4).
        scores: (B, G, N), of each box in each group; one of minus infinity takes no part.
        iou_threshold: of the intersection over union.

    Returns:
        (B, G, N) bool, True where a box takes part and is left.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for image_boxes, image_scores, image_kept in zip(boxes_xyxy, scores, kept, strict=True):
        # group by group: one call with shifted boxes would round their overlaps
        for group_scores, group_kept in zip(image_scores, image_kept, strict=True):
            rows = (group_scores > -torch.inf).nonzero()[:, 0]
            group_kept[rows[nms(image_boxes[rows], group_scores[rows], iou_threshold)]] = True
    return kept


@suppress.register_fake
def _(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)
