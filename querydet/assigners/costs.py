"""Costs of assigning a query to an object (DETR, arXiv 2005.12872, section 3.1; focal form: Deformable DETR)."""

import torch
from torch import Tensor

from querydet.boxes import cxcywh_to_xyxy, generalized_iou

LOG_EPS = 1e-8  # inside the logarithms (released code)


def focal_cost(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """How much more a positive target would cost than a negative one, (Q, T), from logits (Q, K) and labels (T,)."""
    probability = logits[:, labels].sigmoid()
    positive = alpha * (1 - probability) ** gamma * -torch.log(probability + LOG_EPS)
    negative = (1 - alpha) * probability**gamma * -torch.log(1 - probability + LOG_EPS)
    return positive - negative


def l1_cost(boxes: Tensor, others: Tensor) -> Tensor:
    """Sum of absolute coordinate differences, (Q, T), from boxes (Q, 4) and (T, 4)."""
    return torch.cdist(boxes, others, p=1)


def giou_cost(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    """Negative generalised IoU, (Q, T), from boxes (Q, 4) and (T, 4)."""
    return -generalized_iou(cxcywh_to_xyxy(boxes)[:, None], cxcywh_to_xyxy(others)[None], eps)
