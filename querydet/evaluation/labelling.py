"""Labelling of detections as right, wrong, duplicate or ignored, by COCO's greedy matching at one IoU threshold."""

from enum import IntEnum

import numpy as np
import torch
from detectron2.structures import Instances
from torch import Tensor

from querydet.evaluation.per_image import ImageTruth
from querydet.modeling.boxes import box_iou


class Label(IntEnum):
    """The label of a detection."""

    WRONG = 0  # matches no object of its class
    RIGHT = 1  # the first to find its object
    DUPLICATE = 2  # a better detection has found its object
    IGNORED = 3  # inside a crowd region of its class


def label_detections(instances: Instances, truth: ImageTruth, iou_threshold: float) -> Tensor:
    """Label the detections of one image.

    In descending order of score, a detection is matched with the unmatched object of its class with the highest IoU, if
    that is at least the threshold. An unmatched detection is ignored if a crowd region of its class covers at least
    that fraction of it, a duplicate if its IoU with a matched object is at least the threshold, and else wrong.

    Args:
        instances: `pred_boxes` (XYXY, pixels), `scores`, `pred_classes`.
        truth: the annotations.
        iou_threshold: smallest IoU of a match, in (0, 1].

    Returns:
        (n,) int64 of `Label`, in the order of the detections.
    """
    labels = np.zeros(len(instances), dtype=np.int64)
    if len(instances) and len(truth):
        allowed = _overlaps(instances, truth)
        objects, crowd = allowed[:, ~truth.crowd.numpy()], allowed[:, truth.crowd.numpy()]
        taken = np.zeros(objects.shape[1], dtype=bool)
        order = np.argsort(-instances.scores.numpy(), kind="stable")
        hits = np.any(allowed >= iou_threshold, axis=1).reshape(-1)
        for index in order[hits[order]]:
            labels[index] = _label(objects[index], crowd[index], taken, iou_threshold)
    return torch.from_numpy(labels)


def _label(objects: np.ndarray, crowd: np.ndarray, taken: np.ndarray, iou_threshold: float) -> Label:
    free = np.where(taken, -1.0, objects)
    if free.size and free.max() >= iou_threshold:
        taken[free.argmax()] = True
        return Label.RIGHT
    if (crowd >= iou_threshold).any():
        return Label.IGNORED
    return Label.DUPLICATE if (objects >= iou_threshold).any() else Label.WRONG


def _overlaps(instances: Instances, truth: ImageTruth) -> np.ndarray:
    """Compute the IoU (n, T), for crowd regions the covered fraction of the detection; -1 for other classes."""
    boxes = instances.pred_boxes.tensor.double()
    overlaps = box_iou(boxes[:, None], truth.boxes_xyxy_abs[None])
    areas, others = (corners[:, 2:] - corners[:, :2] for corners in (boxes, truth.boxes_xyxy_abs))
    areas, others = areas.prod(1)[:, None], others.prod(1)[None]
    intersection = overlaps * (areas + others) / (1 + overlaps)
    covered = (intersection / areas).nan_to_num(0.0)
    overlaps = torch.where(truth.crowd[None], covered, overlaps)
    same = instances.pred_classes[:, None] == truth.labels[None]
    return torch.where(same, overlaps, -1.0).numpy()


def check_fraction(name: str, value: float, least: float = 0.0) -> float:
    """Return the value if it lies in [least, 1].

    Raises:
        ValueError: it does not.
    """
    if not least <= value <= 1:
        raise ValueError(f"{name} must lie in [{least:g}, 1], got {value}")
    return value
