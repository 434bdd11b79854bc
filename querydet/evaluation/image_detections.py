"""The detections of one image as they are gathered, written and compared with the ground truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.structures import BoxMode, Instances

from querydet.utils.run_lengths import RunLengths


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """The detections of one image."""

    rows: np.ndarray  # (n, 6) float64: x, y, w, h in pixels, score, class index
    nonfinite: int = 0
    masks: list[RunLengths] | None = None  # n checked ones; None: boxes only


def detection_rows(instances: Instances) -> np.ndarray:
    """Convert detections on the CPU to (n, 6) float64: x, y, w, h in pixels, score, class index."""
    boxes = BoxMode.convert(instances.pred_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    columns = [boxes.double(), instances.scores.double()[:, None], instances.pred_classes.double()[:, None]]
    return torch.cat(columns, dim=1).numpy()


def masks_of_images(detections: Mapping[Any, ImageDetections]) -> dict[Any, list[RunLengths]] | None:
    """Return the masks of all detections by image id; None if there are only boxes.

    Raises:
        ValueError: some images have detections with masks, others without.
    """
    masks = {image_id: image.masks for image_id, image in detections.items() if image.masks is not None}
    without = [image_id for image_id, image in detections.items() if image.masks is None and len(image.rows)]
    if masks and without:
        raise ValueError(
            f"{len(without)} images have detections without masks, such as image {without[0]}, but others have masks, "
            f"such as image {next(iter(masks))}: give all detections of a data set masks, or none"
        )
    return masks or None
