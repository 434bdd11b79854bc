"""From the last layer's predictions to detections in pixels of the original image."""

import torch
from torch import Tensor

from tests.reference.detectors.boxes import corners, suppress

Detections = tuple[Tensor, Tensor, Tensor]  # scores, labels, boxes (x0, y0, x1, y1)


def _pairs(logits: Tensor, boxes: Tensor, size: tuple[int, int], count: int) -> Detections:
    """The best pairs of a query (N) and a class (K) of an image of this height and width, best first."""
    scores, index = logits.sigmoid().flatten().topk(min(count, logits.numel()))
    classes = logits.shape[-1]
    scale = torch.tensor([size[1], size[0], size[1], size[0]])
    return scores, index % classes, corners(boxes)[index // classes] * scale


def top(logits: Tensor, boxes: Tensor, size: tuple[int, int], count: int) -> Detections:
    """Deformable DETR's: the best pairs are the detections."""
    return _pairs(logits, boxes, size, count)


def suppressed(logits: Tensor, boxes: Tensor, size: tuple[int, int], count: int, threshold: float) -> Detections:
    """DETA's: of the best 10000 pairs, those that no better one of their class overlaps."""
    scores, labels, places = _pairs(logits, boxes, size, 10000)
    kept: list[int] = []
    for label in labels.unique().tolist():
        (own,) = (labels == label).nonzero(as_tuple=True)
        kept += own[suppress(places[own], scores[own], threshold)].tolist()
    chosen = torch.tensor(sorted(kept)[:count])
    return scores[chosen], labels[chosen], places[chosen]
