"""Focal loss and box losses of matched predictions (DETR, arXiv 2005.12872, section 3.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.detectors.boxes import giou
from tests.reference.detectors.run import Objects


def focal_loss(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> Tensor:
    """Sum of the focal loss (arXiv 1708.02002, equation 5) of logits for targets of 0 and 1."""
    p = logits.sigmoid()
    positive = -F.logsigmoid(logits) * (1 - p) ** gamma * alpha
    negative = -F.logsigmoid(-logits) * p**gamma * (1 - alpha)
    return (target * positive + (1 - target) * negative).sum()


def class_targets(logits: Tensor, targets: list[Objects], pairs: list[Tensor]) -> Tensor:
    """One class for each prediction with an object; of several objects, that of the last pair."""
    table = torch.zeros_like(logits)
    for image, objects in enumerate(targets):
        for query, number in pairs[image].T.tolist():
            table[image, query] = 0
            table[image, query, objects.labels[number]] = 1
    return table


def losses(
    logits: Tensor,
    boxes: Tensor,
    targets: list[Objects],
    pairs: list[Tensor],
    divisor: float,
    *,
    alpha: float,
    gamma: float = 2.0,
    eps: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Class loss, L1 loss and loss by generalised IoU of one layer, before weighting.

    Args:
        logits: (B, N, K).
        boxes: (B, N, 4).
        targets: objects of each image.
        pairs: for each image, predictions over objects (2, n).
        divisor: of the sums.
        alpha: of the focal loss.
        gamma: of the focal loss.
        eps: in the denominators of the generalised IoU.
    """
    classes = focal_loss(logits, class_targets(logits, targets, pairs), alpha, gamma)
    found = torch.cat([boxes[image, one[0]] for image, one in enumerate(pairs)])
    wanted = torch.cat([targets[image].boxes[one[1]] for image, one in enumerate(pairs)])
    overlap = giou(found, wanted, eps)
    return classes / divisor, (found - wanted).abs().sum() / divisor, (1 - overlap).sum() / divisor


def one_class(targets: list[Objects]) -> list[Objects]:
    """The objects with label 0, for a class-agnostic stage."""
    return [Objects(torch.zeros_like(one.labels), one.boxes) for one in targets]
