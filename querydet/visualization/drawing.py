"""Drawing of labelled boxes and masks on one image, in the style of Detectron2's `Visualizer`.

Colours are determined by the class, so that a class looks the same in every picture and the global random generators
are not used (Detectron2's own choices are random).
"""

import colorsys
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.visualizer import Visualizer

from querydet.data.masks import to_run_lengths
from querydet.utils.run_lengths import RunLengths
from querydet.visualization.box_painting import paint_boxes
from querydet.visualization.cropped_masks import GT_RUN_LENGTHS, cropped_masks
from querydet.visualization.mask_painting import paint_masks

MIN_SIDE = 480  # pixels; smaller images are enlarged by an integer factor so that the labels are readable ...
MAX_SIDE = 4000  # ... up to this long side, which limits the pictures of narrow strips
FONT_SCALE = 1.6  # of Detectron2's labels, whose size suits whole photographs, not cells of a grid
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2  # successive hues stay apart for any number of classes


def class_color(index: int) -> tuple[float, float, float]:
    """Return the colour of a class index, RGB in [0, 1]."""
    return colorsys.hsv_to_rgb((index * _GOLDEN_RATIO) % 1.0, 0.85 if index % 2 else 0.65, 1.0)


def draw_instances(image: np.ndarray, instances: Instances, class_names: Sequence[str]) -> np.ndarray:
    """Draw boxes with class names, masks where there are some and, for predictions, scores.

    Args:
        image: (H, W, 3), RGB, uint8.
        instances: `gt_boxes, gt_classes` or `pred_boxes, pred_classes, scores`; boxes XYXY in pixels of the image;
            where there are masks, in any form that `cropped_masks` reads.
        class_names: by class index; an index beyond the end is drawn as a number.

    Returns:
        (H * s, W * s, 3), RGB, uint8 with the integer factor s >= 1 that makes the short side about `MIN_SIDE` long, or
        less where the long side would exceed `MAX_SIDE`.

    Raises:
        ValueError: masks do not fit the image.
    """
    kind = "pred" if instances.has("pred_boxes") else "gt"
    boxes = on_image(instances.get(f"{kind}_boxes").tensor.detach().cpu().numpy(), image)
    classes = instances.get(f"{kind}_classes").tolist()
    labels = [class_names[index] if index < len(class_names) else str(index) for index in classes]
    if instances.has("scores"):
        labels = [f"{label} {score:.0%}" for label, score in zip(labels, instances.scores.tolist(), strict=True)]
    colors = [class_color(index) for index in classes]
    painted = paint_masks(image, cropped_masks(instances), colors)
    return paint_boxes(painted, boxes, labels, colors, drawing_scale(image), FONT_SCALE)


def drawing_scale(image: np.ndarray) -> int:
    """Return the integer factor by which an image (H, W, 3) is enlarged so that labels are readable."""
    return max(1, min(round(MIN_SIDE / min(image.shape[:2])), MAX_SIDE // max(image.shape[:2])))


def on_image(boxes_xyxy_abs: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Clip boxes (n, 4) to the image, so that their labels are visible."""
    return boxes_xyxy_abs.clip(1, np.array([image.shape[1], image.shape[0]] * 2) - 1)


def make_visualizer(image: np.ndarray) -> Visualizer:
    """Make Detectron2's `Visualizer` of an image (H, W, 3), enlarged as by `draw_instances`."""
    return Visualizer(image, scale=drawing_scale(image), font_size_scale=FONT_SCALE)


def instances_of_record(record: dict[str, Any]) -> Instances:
    """Convert the annotations of a Detectron2 dataset dict, crowd regions left out.

    Returns:
        `gt_boxes`, `gt_classes` and, where an annotation has a `segmentation`, `gt_masks_rle`; see `cropped_masks`.

    Raises:
        ValueError: a `segmentation` cannot be read.
    """
    objects = [item for item in record.get("annotations", []) if not item.get("iscrowd", 0)]
    boxes = [BoxMode.convert(item["bbox"], item["bbox_mode"], BoxMode.XYXY_ABS) for item in objects]
    instances = Instances((record["height"], record["width"]))
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor([item["category_id"] for item in objects], dtype=torch.int64)
    masks = annotated_masks(record, objects)
    if any(mask is not None for mask in masks):
        instances.set(GT_RUN_LENGTHS, masks)
    return instances


def annotated_masks(record: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> list[RunLengths | None]:
    """Rasterise the `segmentation` of annotations of a Detectron2 dataset dict; None for those without one.

    Raises:
        ValueError: one cannot be read.
    """
    masks: list[RunLengths | None] = []
    for position, item in enumerate(annotations):
        outline = item.get("segmentation")
        try:
            masks.append(None if outline is None else to_run_lengths(outline, record["height"], record["width"]))
        except ValueError as error:
            name = record.get("file_name", record.get("image_id"))
            raise ValueError(f"{name}: object {position} cannot be drawn: {error}") from error
    return masks
