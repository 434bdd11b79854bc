"""Masks of exported detectors: the graph returns logits in the size that the mask head makes; pasting follows.

Pasting needs sizes of images that only the caller knows, and masks of full size are a hundred times larger.
"""

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor

from querydet.modeling.backbones import padding_rule
from querydet.modeling.detector import QueryDetector
from querydet.modeling.masks.image_masks import WholeMasks
from querydet.modeling.masks.paste import PasteMasks
from querydet.structures import PredictionSet

PASTE = ("resize", "rescore", "boxes_from_masks")  # settings of `PasteMasks` that decide what a mask is


def masks_of_detections(predictions: PredictionSet, queries: Tensor) -> Tensor:
    """Return the masks (B, N, h, w), as logits, of N detections of each image.

    Args:
        predictions: the set that detections were selected from.
        queries: (B, N) int64, the query that made each detection.
    """
    masks, hidden = predictions.masks, predictions.hidden
    assert masks is not None
    assert hidden is not None
    return masks.of_batch(hidden.gather(1, queries[..., None].expand(-1, -1, hidden.shape[-1])))


def mask_settings(detector: QueryDetector) -> dict[str, Any] | None:
    """Return what a runner has to know to paste masks; None for a detector without masks.

    `divisor`: masks cover the batch, with height and width rounded up to a multiple of it. The others are arguments of
    `querydet.modeling.masks.PasteMasks`.
    """
    if detector.masks is None:
        return None
    paste = getattr(detector.masks, "paste", PasteMasks())
    divisor = padding_rule(detector.backbone, detector.size_divisibility).divisor
    return {"divisor": divisor, **{name: getattr(paste, name) for name in PASTE}}


class GivenMasks(WholeMasks):
    """The masks of the detections of a batch, which were computed before.

    Args:
        logits: (B, N, h, w).
        canvas: height and width in pixels that they cover.
    """

    def __init__(self, logits: Tensor, canvas: tuple[int, int]) -> None:
        super().__init__(canvas)
        self.logits = logits

    def of_batch(self, hidden: Tensor) -> Tensor:
        """Return the masks (B, n, h, w) of detections, whose numbers (B, n, 1) stand in place of hidden states."""
        return torch.stack([self.of_image(image, rows) for image, rows in enumerate(hidden)])

    def of_image(self, image: int, hidden: Tensor) -> Tensor:
        """Return the masks (n, h, w) of detections of an image, by their numbers (n, 1)."""
        return self.logits[image, hidden[:, 0].long()]


class MaskPaster:
    """Pastes the masks of an exported detector.

    Args:
        settings: of `mask_settings`.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.divisor = int(settings["divisor"])
        self.paste = PasteMasks(**{name: settings[name] for name in PASTE})

    def __call__(
        self, instances: Instances, logits: Tensor, batch_size: tuple[int, int], size: tuple[int, int]
    ) -> Instances:
        """Return the n detections of an image with `pred_masks`.

        Args:
            instances: the detections.
            logits: (n, h, w), their masks.
            batch_size: height and width of the batch that the exported detector was given.
            size: height and width of the image in it.
        """
        height, width = (-(-side // self.divisor) * self.divisor for side in batch_size)
        numbers = torch.arange(len(instances), device=logits.device)
        instances.query_indices = numbers
        masks = GivenMasks(logits[None], (height, width))
        return self.paste(instances, masks, 0, numbers[:, None].to(logits.dtype), size)
