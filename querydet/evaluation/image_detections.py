"""The detections of one image as they are gathered, written and compared with the ground truth."""

from dataclasses import dataclass

import numpy as np
import torch
from detectron2.structures import BoxMode, Instances


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """The detections of one image."""

    rows: np.ndarray  # (n, 6) float64: x, y, w, h in pixels, score, class index
    nonfinite: int


def detection_rows(instances: Instances) -> np.ndarray:
    """Convert detections on the CPU to (n, 6) float64: x, y, w, h in pixels, score, class index."""
    boxes = BoxMode.convert(instances.pred_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    columns = [boxes.double(), instances.scores.double()[:, None], instances.pred_classes.double()[:, None]]
    return torch.cat(columns, dim=1).numpy()
