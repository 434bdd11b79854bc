"""Detection on images in memory."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import Instances

from querydet.data.bounded_input import BoundedInput
from querydet.evaluation.per_image import drop_nonfinite
from querydet.utils.instance_masks import select


class ArrayPredictor:
    """Runs a Detectron2 model on images in memory; `inference.Predictor` builds one from a config.

    Args:
        model: maps Detectron2's list of dicts to a list of outputs.
        augmentations: test augmentations, those of the test mapper.
        image_format: channel order of the model's input, "RGB" or "BGR".
        threshold: detections with a lower score, in [0, 1], are dropped.

    Raises:
        ValueError: the image format is unknown, or the threshold is outside of [0, 1].
    """

    def __init__(
        self,
        *,
        model: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
        augmentations: Sequence[T.Augmentation],
        image_format: str = "RGB",
        threshold: float = 0.3,
    ) -> None:
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"image_format must be RGB or BGR, got '{image_format}'")
        self._model = model
        self._augmentations = T.AugmentationList(list(augmentations))
        self._image_format = image_format
        self._threshold = check_threshold(threshold)

    def __call__(self, image: np.ndarray) -> Instances:
        """Detect on one image, see `detect`."""
        return self.detect([image])[0]

    def detect(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """Detect on images (H, W, 3), RGB, uint8, of any sizes, as one batch.

        Returns:
            For each image, `pred_boxes` (XYXY, pixels of the given image), `scores`, `pred_classes`, best first, on the
            CPU; and the masks of a detector that makes some, see `utils.instance_masks`.
        """
        return self.detect_prepared([self.prepare(image) for image in images])

    def detect_prepared(self, inputs: Sequence[dict[str, Any]]) -> list[Instances]:
        """Detect on inputs of the model, from `prepare`, as one batch; see `detect`."""
        with masks_above(self._model, self._threshold):
            outputs = run_model(self._running_model(), list(inputs))
        return [keep_confident(output["instances"], self._threshold) for output in outputs]

    def _running_model(self) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
        """Return what is called: the model, or another form of it."""
        return self._model

    def prepare(self, image: np.ndarray) -> dict[str, Any]:
        """Convert an image (H, W, 3), RGB, uint8, to an input of the model."""
        height, width = image.shape[:2]
        augmented = BoundedInput(image if self._image_format == "RGB" else image[:, :, ::-1])
        self._augmentations(augmented)
        tensor = torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}


@contextlib.contextmanager
def masks_above(model: object, threshold: float) -> Iterator[None]:
    """Let a detector make no masks of detections below a threshold, within this context."""
    paste = getattr(getattr(model, "masks", None), "paste", None)
    if paste is None:
        yield
        return
    before = paste.min_score
    paste.min_score = max(before, threshold)
    try:
        yield
    finally:
        paste.min_score = before


def check_threshold(threshold: float) -> float:
    """Return the threshold.

    Raises:
        ValueError: it is outside of [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold must be in [0, 1], got {threshold}")
    return threshold


def run_model(model: Callable, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run a model without gradients in evaluation mode and restore its mode."""
    training = getattr(model, "training", False)
    if isinstance(model, torch.nn.Module):
        model.eval()
    try:
        with torch.no_grad():
            return model(inputs)
    finally:
        if isinstance(model, torch.nn.Module):
            model.train(training)


def keep_confident(instances: Instances, threshold: float) -> Instances:
    """Return the finite detections with a score of at least `threshold`, best first, on the CPU."""
    instances, _ = drop_nonfinite(instances.to("cpu"))
    instances = select(instances, instances.scores >= threshold)
    return select(instances, instances.scores.argsort(descending=True))
