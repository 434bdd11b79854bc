"""From Detectron2's annotated inputs to the targets of a training step."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.utils import comm
from torch import Tensor

from querydet.boxes import xyxy_to_cxcywh
from querydet.structures import Targets


def image_name(inputs: dict[str, Any], index: int) -> str:
    """What to call an image in a message: its file, else its id, else its place in the batch."""
    return str(inputs.get("file_name") or inputs.get("image_id") or f"image {index} of the batch")


def make_targets(batched_inputs: Sequence[dict[str, Any]], num_classes: int, device: torch.device) -> Targets:
    """Collect the objects of a batch, in normalised coordinates, and count them over all processes.

    Args:
        batched_inputs: Detectron2's dicts with ``instances`` (``gt_boxes`` XYXY in pixels of the image as given to the
            model, ``gt_classes``), and optionally ``seed`` (int), the source of the image's random draws.
        num_classes: K; labels must lie in [0, K).
        device: of the returned tensors.

    Raises:
        ValueError: when an image has no annotations, a box that is not finite, or a label out of range.
    """
    labels, boxes, names = [], [], []
    for index, inputs in enumerate(batched_inputs):
        name = image_name(inputs, index)
        if "instances" not in inputs:
            raise ValueError(f"{name}: training needs 'instances', found the keys {sorted(inputs)}")
        instances = inputs["instances"]
        _check_objects(instances.gt_boxes.tensor, instances.gt_classes, num_classes, name)
        height, width = instances.image_size
        scale = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes.append(xyxy_to_cxcywh(instances.gt_boxes.tensor.float() / scale.to(instances.gt_boxes.device)).to(device))
        labels.append(instances.gt_classes.to(device))
        names.append(name)
    mean_objects, max_objects = count_objects([len(each) for each in labels])
    return Targets(
        labels=tuple(labels),
        boxes=tuple(boxes),
        names=tuple(names),
        seeds=tuple(inputs.get("seed") for inputs in batched_inputs),
        mean_objects=mean_objects,
        max_objects=max_objects,
    )


def count_objects(counts: Sequence[int]) -> tuple[float, int]:
    """Objects per process, averaged over all processes, and the most objects in one image of any process.

    The counts are host integers, and so is the exchange: no device is waited for.
    """
    gathered = comm.all_gather((sum(counts), max(counts, default=0)))
    totals, maxima = zip(*gathered, strict=True)
    return sum(totals) / len(totals), max(maxima)


def _check_objects(boxes_abs: Tensor, labels: Tensor, num_classes: int, name: str) -> None:
    if not torch.isfinite(boxes_abs).all():
        bad = [box for box in boxes_abs.tolist() if not all(abs(value) < float("inf") for value in box)]
        raise ValueError(f"{name}: a box of the annotations is not finite: {bad[0]}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"{name}: labels lie in [{int(labels.min())}, {int(labels.max())}], but the model has {num_classes} "
            "classes: set model.num_classes to the number of classes of the data set"
        )
