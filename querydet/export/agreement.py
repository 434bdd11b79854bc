"""Comparison of detections between a detector and a form of it in a reduced precision.

Sixteen or eight bits change every logit a little, reorder queries of equal score, and move boxes by parts of a pixel:
`export.checking` would refuse each of them. What has to stay are the detections that a user would look at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from querydet.export.checking import Run
from querydet.export.graph import DetectionGraph, pad_images
from querydet.export.operators import DEFINITIONS
from querydet.modeling.detector import QueryDetector

# Ours: least overlap of counterparts, largest difference of their scores, and the share of the best score of an image
# from which on a detection counts.
MIN_IOU = 0.7
SCORE_CHANGE = 0.1
CONFIDENT = 0.5


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many confident detections of a batch have a counterpart in the other form."""

    sizes: tuple[tuple[int, int], ...]  # (height, width) of the images
    detections: int  # of both forms that are compared
    matched: int  # of these with a counterpart

    @property
    def share(self) -> float:
        """Share of the detections with a counterpart; 1 where there are none."""
        return self.matched / self.detections if self.detections else 1.0


def compare_detections(
    detector: QueryDetector, run: Run, images: Sequence[Tensor], min_size: tuple[int, int] = (1, 1)
) -> Agreement:
    """Run a detector and an exported form on one batch and compare what they detect.

    Args:
        detector: a detector in any mode; it is not changed.
        run: the exported form.
        images: (3, H, W), 0 to 255, of any sizes.
        min_size: smallest height and width that `run` accepts.
    """
    inputs = pad_images(images, min_size)
    training = detector.training
    detector.eval()
    try:
        with torch.no_grad():
            expected = DetectionGraph(detector, keep_operators=tuple(DEFINITIONS))(*inputs)
    finally:
        detector.train(training)
    actual = run(*inputs)
    counts = [count_matched(*pair) for pair in ((expected, actual), (actual, expected))]
    return Agreement(
        sizes=tuple((height, width) for height, width in inputs[1].tolist()),
        detections=sum(total for total, _ in counts),
        matched=sum(matched for _, matched in counts),
    )


def count_matched(outputs: dict[str, Tensor], others: dict[str, Tensor]) -> tuple[int, int]:
    """Count the confident detections, and those with a counterpart among others.

    A counterpart has the same label, an IoU of `MIN_IOU` or more, and a score within `SCORE_CHANGE`. Several
    detections may share one: duplicates of an object are not what a reduced precision is checked for.

    Args:
        outputs: `boxes`, `scores` and `labels` of a batch.
        others: the same from the other form.
    """
    total = matched = 0
    for image in range(len(outputs["scores"])):
        boxes, scores, labels = (outputs[name][image] for name in ("boxes", "scores", "labels"))
        other_boxes, other_scores, other_labels = (others[name][image] for name in ("boxes", "scores", "labels"))
        confident = (labels >= 0) & (scores >= CONFIDENT * scores.max())
        matches = (
            (labels[:, None] == other_labels)
            & ((scores[:, None] - other_scores).abs() <= SCORE_CHANGE)
            & (box_iou(boxes, other_boxes) >= MIN_IOU)
        )
        total += int(confident.sum())
        matched += int((confident & matches.any(1)).sum())
    return total, matched
