"""Test-time augmentation: a model that looks at several views of every image.

Like Detectron2's ``GeneralizedRCNNWithTTA``, for detectors whose output are boxes: the image at several scales, and
mirrored. The views are made from the image that the model is given: for sharp large views, give it large images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.data.transforms import ResizeTransform
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from querydet.evaluation.ensemble import Ensemble, default_ensemble


@dataclass(frozen=True, slots=True)
class View:
    """How an image is looked at."""

    scale: float
    flip: bool


class TestTimeAugmentation(nn.Module):
    """Runs a detector on views of each image and makes one list of their detections; for evaluation alone.

    The views, in the order of an ensemble's weights: the image as it is; mirrored if ``flip``; and the same for every
    scale.

    Args:
        model: takes Detectron2's list of dicts and gives boxes in pixels of ``height`` and ``width``.
        scales: of further views, relative to the image as it is given.
        flip: whether every view is also mirrored.
        ensemble: makes one list of detections; None: suppression for a model that suppresses its detections
            (:class:`querydet.evaluation.NMSEnsemble`), DINO's one-to-one ensembling for others.

    Raises:
        ValueError: scales that are not positive.
    """

    __test__ = False  # no test class, whatever its name says to pytest

    def __init__(
        self, model: nn.Module, *, scales: Sequence[float] = (), flip: bool = True, ensemble: Ensemble | None = None
    ) -> None:
        super().__init__()
        if not all(scale > 0 for scale in scales):
            raise ValueError(f"scales must be positive, got {list(scales)}")
        self.model = model
        self.ensemble = ensemble or default_ensemble(model)
        self.views = [
            View(scale, flipped) for scale in (1.0, *scales) for flipped in ([False, True] if flip else [False])
        ]

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect, one image and one view after the other.

        Args:
            batched_inputs: as of the model.

        Returns:
            ``[{"instances": Instances}]`` in pixels of each image's ``height`` and ``width``.

        Raises:
            ValueError: in training mode, or for as many weights of the ensemble as there are not views.
        """
        if self.training:
            raise ValueError("test-time augmentation is for evaluation alone: call eval() first")
        return [
            {"instances": self.ensemble([self._detect(inputs, view) for view in self.views])}
            for inputs in batched_inputs
        ]

    def _detect(self, inputs: dict[str, Any], view: View) -> Instances:
        image = inputs["image"]
        size = {"height": inputs.get("height", image.shape[-2]), "width": inputs.get("width", image.shape[-1])}
        (output,) = self.model([{**inputs, **size, "image": make_view(image, view)}])
        found: Instances = output["instances"]
        if view.flip:
            found = Instances(found.image_size, **found.get_fields())
            x0, y0, x1, y1 = found.pred_boxes.tensor.unbind(1)
            found.pred_boxes = Boxes(torch.stack([size["width"] - x1, y0, size["width"] - x0, y1], dim=1))
        return found


def make_view(image: Tensor, view: View) -> Tensor:
    """The view (3, H', W') of an image (3, H, W): resized as Detectron2 does, and mirrored."""
    if view.scale != 1:
        height, width = image.shape[-2:]
        wanted = [max(1, round(side * view.scale)) for side in (height, width)]
        array = image.permute(1, 2, 0).cpu().numpy()
        resized = ResizeTransform(height, width, *wanted).apply_image(array)
        image = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1))).to(image.device)
    return image.flip(-1) if view.flip else image
