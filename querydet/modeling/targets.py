"""The targets of a training step, from Detectron2's annotated inputs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from querydet.modeling.boxes import xyxy_to_cxcywh
from querydet.modeling.masks.targets import object_masks
from querydet.structures import ObjectCount, Targets
from querydet.utils.transfer import send

TOLERANCE = 1.0  # pixels by which a box may leave its image: rounding, and annotations that count pixels from one


def image_name(inputs: dict[str, Any], index: int) -> str:
    """Return the name of an image for messages: its file, else its id, else its place in the batch."""
    names = (inputs.get("file_name"), inputs.get("image_id"), f"image {index} of the batch")
    return str(next(name for name in names if name is not None))


def make_targets(
    batched_inputs: Sequence[dict[str, Any]],
    num_classes: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    object_count: ObjectCount | None = None,
    canvas: tuple[int, int] | None = None,
) -> Targets:
    """Collect the objects of a batch in normalised coordinates.

    Args:
        batched_inputs: Detectron2's dicts with `instances` (`gt_boxes` XYXY in pixels of `image`, `gt_classes`), and
            optionally `seed` (int) of the image's random draws.
        num_classes: K; labels must lie in [0, K).
        device: device of the returned tensors.
        dtype: type of the returned boxes.
        object_count: numbers of objects of the whole training step, where this batch is a part of it; None: the batch
            is the step.
        canvas: height and width of the padded images, for a detector that predicts masks; None: masks are not read.

    Raises:
        ValueError: when an image has no annotations, or annotations of an image of another size; when a box is not
            finite, has no area or leaves the image, or a label is out of range. The data mapper of this project repairs
            or leaves out such boxes beforehand.
    """
    labels, boxes, names = [], [], []
    for index, inputs in enumerate(batched_inputs):
        name = image_name(inputs, index)
        if "instances" not in inputs:
            raise ValueError(f"{name}: training needs 'instances', found the keys {sorted(inputs)}")
        instances = inputs["instances"]
        boxes_abs = instances.gt_boxes.tensor
        height, width = instances.image_size
        if (height, width) != tuple(inputs["image"].shape[-2:]):
            raise ValueError(
                f"{name}: the annotations are for an image of {height}x{width} pixels (height x width), but the image "
                f"has {tuple(inputs['image'].shape[-2:])}: transform both together"
            )
        _check_labels(instances.gt_classes, num_classes, name)
        _check_boxes(boxes_abs, height, width, name)
        scale = torch.tensor([width, height, width, height], dtype=dtype, device=boxes_abs.device)
        boxes.append(send(xyxy_to_cxcywh(boxes_abs.to(dtype) / scale), device))
        labels.append(send(instances.gt_classes, device))
        names.append(name)
    step = ObjectCount(tuple(map(len, labels))) if object_count is None else object_count
    return Targets(
        labels=tuple(labels),
        boxes=tuple(boxes),
        names=tuple(names),
        seeds=tuple(inputs.get("seed") for inputs in batched_inputs),
        step=step,
        masks=None if canvas is None else object_masks(batched_inputs, names, canvas, device, dtype),
    )


def _check_labels(labels: Tensor, num_classes: int, name: str) -> None:
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"{name}: labels lie in [{int(labels.min())}, {int(labels.max())}], but the model has {num_classes} "
            "classes: set model.num_classes to the number of classes of the data set"
        )


def _check_boxes(boxes_abs: Tensor, height: int, width: int, name: str) -> None:
    limit = torch.tensor([width, height, width, height], device=boxes_abs.device) + TOLERANCE
    for bad, problem in (
        (~torch.isfinite(boxes_abs), "is not finite"),
        (boxes_abs[:, 2:] <= boxes_abs[:, :2], "has no area"),
        ((boxes_abs < -TOLERANCE) | (boxes_abs > limit), f"leaves the image of {width}x{height} pixels"),
    ):
        rows = bad.any(dim=1)
        if rows.any():
            raise ValueError(
                f"{name}: a box of the annotations {problem}: {boxes_abs[rows][0].tolist()} as (x1, y1, x2, y2). Clip "
                "the boxes to the image and leave out those of no area, as querydet.data.DetrDatasetMapper does"
            )
