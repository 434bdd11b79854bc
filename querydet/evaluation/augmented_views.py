"""Test-time augmentation: detection on several views of every image.

Like Detectron2's `GeneralizedRCNNWithTTA`, for detectors that output boxes: the image at several scales, and flipped
horizontally. A view of another size is made from the image file, of which the input is taken to be a resized copy, or
from the input where it names no file of its original size.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.data.transforms import ResizeTransform
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from querydet.data.bounded_input import BoundedInput
from querydet.data.media import ImageReader, read_record
from querydet.evaluation.ensemble import Ensemble, default_ensemble, refuse_masks


@dataclass(frozen=True, slots=True)
class View:
    """Scale and horizontal flip of one view of an image."""

    scale: float
    flip: bool


class TestTimeAugmentation(nn.Module):
    """Runs a detector on views of each image and merges their detections; for evaluation only.

    The views, in the order of an ensemble's weights: the original image; flipped if `flip`; and the same for every
    scale.

    Args:
        model: maps Detectron2's list of dicts to boxes in pixels of `height` and `width`.
        scales: of further views, relative to the input image.
        flip: whether every view is also flipped horizontally.
        ensemble: merges the detections of the views; None: suppression for a model that suppresses its detections
            (`evaluation.NMSEnsemble`), DINO's one-to-one ensembling for others.
        reader: reads image files as the test mapper does (`data.media.reader_of`); None: the default one.

    Raises:
        ValueError: a scale is not positive.
    """

    __test__ = False  # keeps pytest from collecting it by its name

    def __init__(
        self,
        model: nn.Module,
        *,
        scales: Sequence[float] = (),
        flip: bool = True,
        ensemble: Ensemble | None = None,
        reader: ImageReader | None = None,
    ) -> None:
        super().__init__()
        if not all(scale > 0 for scale in scales):
            raise ValueError(f"scales must be positive, got {list(scales)}")
        self.model = model
        self.ensemble = ensemble or default_ensemble(model)
        self.reader = reader or ImageReader()
        self.views = [
            View(scale, flipped) for scale in (1.0, *scales) for flipped in ([False, True] if flip else [False])
        ]

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect, one image and one view at a time.

        Args:
            batched_inputs: inputs of the model.

        Returns:
            `[{"instances": Instances}]` in pixels of each image's `height` and `width`.

        Raises:
            ValueError: the module is in training mode, the ensemble does not have one weight for each view, or the
                detector makes masks.
        """
        if self.training:
            raise ValueError("test-time augmentation is for evaluation alone: call eval() first")
        return [
            {"instances": self.ensemble([self._detect(inputs, original, view) for view in self.views])}
            for inputs, original in zip(batched_inputs, map(self._original, batched_inputs), strict=True)
        ]

    def _original(self, inputs: dict[str, Any]) -> Tensor | None:
        """Read the image (3, H, W) that an input was made from; None where it is not at hand or not needed."""
        path = inputs.get("file_name", "")
        if all(view.scale == 1 for view in self.views) or not os.path.isfile(path):
            return None
        array = read_record(inputs, self)
        if getattr(self.model, "input_format", "RGB") == "BGR":
            array = array[:, :, ::-1]
        if array.shape[:2] != (inputs.get("height"), inputs.get("width")):
            return None
        return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).to(inputs["image"].device)

    def _detect(self, inputs: dict[str, Any], original: Tensor | None, view: View) -> Instances:
        image = inputs["image"]
        size = {"height": inputs.get("height", image.shape[-2]), "width": inputs.get("width", image.shape[-1])}
        (output,) = self.model([{**inputs, **size, "image": make_view(image, view, original)}])
        instances: Instances = output["instances"]
        refuse_masks(instances)
        if view.flip:
            instances = Instances(instances.image_size, **instances.get_fields())
            x0, y0, x1, y1 = instances.pred_boxes.tensor.unbind(1)
            instances.pred_boxes = Boxes(torch.stack([size["width"] - x1, y0, size["width"] - x0, y1], dim=1))
        return instances


def make_view(image: Tensor, view: View, original: Tensor | None = None) -> Tensor:
    """Make a view (3, H', W') of an image (3, H, W): resized as Detectron2 does, and flipped.

    Args:
        image: the input of the model.
        view: scale, relative to the input, and flip.
        original: the image (3, h, w) of any size that the input was resized from, which is read instead of it.
    """
    if view.scale != 1:
        sides = [max(1, round(side * view.scale)) for side in image.shape[-2:]]
        source = image if original is None else original
        array = source.permute(1, 2, 0).cpu().numpy()
        resized = BoundedInput(array)
        resized.transform(ResizeTransform(*source.shape[-2:], *sides))
        image = torch.from_numpy(np.ascontiguousarray(resized.image.transpose(2, 0, 1))).to(image.device)
    return image.flip(-1) if view.flip else image
