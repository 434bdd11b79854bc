"""The traceable part of a detector: tensors in, tensors out, for batches and images of any size.

B images, N detections that the postprocess keeps, Q queries, K classes. The inputs:

* `images` (B, 3, H, W) float32, 0 to 255, in the channel order of the detector's `input_format`, each in the upper
  left corner. Pixels outside of an image are ignored. Padding that the backbone needs beyond H and W is
  added inside the graph.
* `sizes` (B, 2) int64, height and width of each image in `images`.

The outputs:

* `boxes` (B, N, 4) as (x0, y0, x1, y1), normalised by the image's width and height: multiply by the width and height
  of the image to draw on.
* `scores` (B, N), in descending order.
* `labels` (B, N) int64; -1, with score 0, where there are fewer detections.
* `logits` (B, Q, K) and `query_boxes` (B, Q, 4) as (cx, cy, w, h): the predictions that detections are selected from.
* `masks` (B, N, h, w), of a detector that predicts some: logits of the masks of all detections, in the resolution of
  its mask head, over the padded batch (`export.masks`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from querydet.export.detections import fixed_size_detections
from querydet.export.masks import masks_of_detections
from querydet.export.operators import PortableOperators
from querydet.modeling.backbones import pad_batch
from querydet.modeling.detector import QueryDetector
from querydet.modeling.geometry import mask_padding

INPUTS = ("images", "sizes")
OUTPUTS = ("boxes", "scores", "labels", "logits", "query_boxes")
MASKS = "masks"


def output_names(detector: QueryDetector) -> tuple[str, ...]:
    """Return the names of the outputs of a detector."""
    return OUTPUTS if detector.masks is None else (*OUTPUTS, MASKS)


class DetectionGraph(nn.Module):
    """A detector from padded images to detections, without the checks and dictionaries around it.

    Args:
        detector: a detector; it has to be in evaluation mode when the graph is called. It is shared, not copied.
        keep_operators: operators of this project that stay in the graph; the others are replaced by their definitions.
    """

    def __init__(self, detector: QueryDetector, keep_operators: Sequence[Any] = ()) -> None:
        super().__init__()
        self.detector = detector
        self.keep_operators = tuple(keep_operators)

    def forward(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """Detect; see the top of this file for inputs and outputs."""
        detector = self.detector
        with PortableOperators(keep=self.keep_operators):
            images = pad_batch(images, detector.backbone, detector.size_divisibility)
            padding = mask_padding(sizes, images.shape[-2:])
            normalised = (images - detector.pixel_mean) / detector.pixel_std
            normalised = normalised.masked_fill(padding[:, None], 0)
            last = detector.detect(normalised, detector.padding_of(padding))
            detections = fixed_size_detections(detector.postprocess, last.logits, last.boxes)
            values = [detections.boxes, detections.scores, detections.labels, last.logits, last.boxes]
            if detector.masks is not None:
                values.append(masks_of_detections(last, detections.queries))
        return dict(zip(output_names(detector), values, strict=True))


def pad_images(images: Sequence[Tensor], min_size: tuple[int, int] = (1, 1)) -> tuple[Tensor, Tensor]:
    """Pad images (3, H, W) to one batch.

    Args:
        images: one or more images of any sizes.
        min_size: smallest height and width of the batch.

    Returns:
        The two inputs of a `DetectionGraph`.
    """
    sizes = torch.tensor([tuple(image.shape[-2:]) for image in images], dtype=torch.int64)
    height, width = torch.maximum(sizes.amax(0), torch.tensor(min_size)).tolist()
    batch = torch.zeros(len(images), images[0].shape[0], height, width)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return batch, sizes
