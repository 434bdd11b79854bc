"""Does an exported model compute what the detector computes?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from querydet.detector import QueryDetector
from querydet.export.graph import DetectionGraph, pad_images
from querydet.export.operators import DEFINITIONS

Run = Callable[[Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences of a batch between the detector and what was exported from it."""

    sizes: tuple[tuple[int, int], ...]  # (height, width) of the images
    logits: float
    query_boxes: float  # in parts of the image
    detections: int  # that only one of the two has, or with a score or a coordinate that differs by more

    def within(self, tolerance: float) -> bool:
        """Whether nothing differs by more."""
        return max(self.logits, self.query_boxes) <= tolerance and not self.detections


def measure(
    detector: QueryDetector,
    run: Run,
    images: Sequence[Tensor],
    tolerance: float,
    min_size: tuple[int, int] = (1, 1),
) -> Difference:
    """Run a detector and what was exported from it on one batch.

    Args:
        detector: it is left as it is.
        run: the exported program or graph.
        images: (3, H, W), 0 to 255, of any sizes.
        tolerance: detections that differ by more are counted.
        min_size: the least height and width that ``run`` takes.
    """
    inputs = pad_images(images, min_size)
    training = detector.training
    detector.eval()
    try:
        with torch.no_grad():
            graph = DetectionGraph(detector, keep_operators=tuple(DEFINITIONS))
            wanted = graph(*(each.to(detector.device) for each in inputs))
    finally:
        detector.train(training)
    wanted = {name: value.cpu() for name, value in wanted.items()}
    found = {name: value.cpu() for name, value in run(*inputs).items()}
    height_and_width = inputs[1].tolist()
    return Difference(
        sizes=tuple((int(height), int(width)) for height, width in height_and_width),
        logits=_largest(wanted["logits"] - found["logits"]),
        query_boxes=_largest(wanted["query_boxes"] - found["query_boxes"]),
        detections=count_unmatched(wanted, found, tolerance) + count_unmatched(found, wanted, tolerance),
    )


def count_unmatched(outputs: dict[str, Tensor], others: dict[str, Tensor], tolerance: float) -> int:
    """Detections of a batch that have no counterpart among others: the same label, nearly the same score and box.

    Equal scores have no order, so that places in the list do not matter; and the last ones of a full list may be cut
    off on either side, so that scores within the tolerance of the last one do not count.
    """
    count = 0
    names = ("boxes", "scores", "labels")
    for boxes, scores, labels, *rest in zip(
        *(values[name] for values in (outputs, others) for name in names), strict=True
    ):
        other_boxes, other_scores, other_labels = rest
        last = max(float(scores[-1]), float(other_scores[-1])) if len(scores) else 0.0
        counted = (labels >= 0) & (scores > last + tolerance)
        alike = (
            (labels[:, None] == other_labels)
            & ((scores[:, None] - other_scores).abs() <= tolerance)
            & ((boxes[:, None] - other_boxes).abs().amax(-1) <= tolerance)
        )
        count += int((counted & ~alike.any(1)).sum())
    return count


def _largest(difference: Tensor) -> float:
    """NaN on one side alone counts as infinite."""
    return float(difference.abs().nan_to_num(torch.inf).max()) if difference.numel() else 0.0
