"""Comparison of an exported model with its detector.

Another runtime rounds differently. Where two proposals have nearly equal scores, this may swap their ranks; as the
content of a query may depend on its rank, the two queries then end elsewhere, and queries that attend to them change a
little: neither result is wrong. Such images are compared less strictly, and the swapped queries are counted. An error
in a graph would change most of the queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from querydet.export.graph import MASKS, DetectionGraph, pad_images
from querydet.export.operators import DEFINITIONS
from querydet.modeling.detector import QueryDetector
from querydet.traits import trait

SPREAD = 100.0  # times the tolerance: largest change of a query whose rank was not swapped itself; ours

Run = Callable[[Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences in a batch between a detector and its export."""

    sizes: tuple[tuple[int, int], ...]  # (height, width) of the images
    logits: float
    query_boxes: float  # normalised
    masks: float  # probabilities of pixels, of detections that are at the same place in both lists; 0 without masks
    detections: int  # without a counterpart whose score and box agree within the tolerance
    compared: int  # number of images that were compared strictly
    swapped: int  # number of queries with swapped ranks; their images are left out of the numbers above

    def within(self, tolerance: float) -> bool:
        """Return whether no difference exceeds the tolerance and all detections have counterparts."""
        return max(self.logits, self.query_boxes, self.masks) <= tolerance and not self.detections


def measure(
    detector: QueryDetector,
    run: Run,
    images: Sequence[Tensor],
    tolerance: float,
    min_size: tuple[int, int] = (1, 1),
) -> Difference:
    """Run a detector and its export on one batch and compare the results.

    Args:
        detector: a detector in any mode; it is not changed.
        run: the exported program or graph.
        images: (3, H, W), 0 to 255, of any sizes.
        tolerance: largest difference of scores and normalised coordinates that counts as equal.
        min_size: smallest height and width that `run` accepts.
    """
    inputs = pad_images(images, min_size)
    training = detector.training
    detector.eval()
    try:
        with torch.no_grad():
            graph = DetectionGraph(detector, keep_operators=tuple(DEFINITIONS))
            expected = graph(*(tensor.to(detector.device) for tensor in inputs))
    finally:
        detector.train(training)
    expected = {name: value.cpu() for name, value in expected.items()}
    actual = {name: value.cpu() for name, value in run(*inputs).items()}
    differences = {
        name: (expected[name] - actual[name]).abs().nan_to_num(torch.inf) for name in ("logits", "query_boxes")
    }
    gross = torch.stack([values.amax(-1) > SPREAD * tolerance for values in differences.values()]).any(0)  # (B, Q)
    swapped = gross & (gross.sum(1, keepdim=True) <= _most_swapped(detector))
    same = ~swapped.any(1)
    expected, actual = ({name: value[same] for name, value in outputs.items()} for outputs in (expected, actual))
    return Difference(
        sizes=tuple((height, width) for height, width in inputs[1].tolist()),
        logits=_largest(differences["logits"][same]),
        query_boxes=_largest(differences["query_boxes"][same]),
        masks=_largest_of_masks(expected, actual, tolerance),
        detections=count_unmatched(expected, actual, tolerance) + count_unmatched(actual, expected, tolerance),
        compared=int(same.sum()),
        swapped=int(swapped.sum()),
    )


def _most_swapped(detector: QueryDetector) -> int:
    """Return how many queries of an image may be swapped: two in a hundred, or one pair; 0 without a ranking."""
    selection = detector.selection
    return max(2, selection.num_queries // 50) if trait(selection, "has_encoder_predictions") else 0


def count_unmatched(outputs: dict[str, Tensor], others: dict[str, Tensor], tolerance: float) -> int:
    """Count the detections that have no counterpart among others: the same label, nearly the same score and box.

    Detections of equal score have no defined order, so places in the list are ignored. The last ones of a full list may
    be cut off on either side, so detections whose score is within the tolerance of the last one are not counted.

    Args:
        outputs: `boxes`, `scores` and `labels` of a batch.
        others: the same from the other model.
        tolerance: largest difference of scores and normalised coordinates of counterparts.
    """
    count = 0
    names = ("boxes", "scores", "labels")
    for boxes, scores, labels, *rest in zip(
        *(values[name] for values in (outputs, others) for name in names), strict=True
    ):
        other_boxes, other_scores, other_labels = rest
        last = max(float(scores[-1]), float(other_scores[-1])) if len(scores) else 0.0
        counted = (labels >= 0) & (scores > last + tolerance)
        matches = (
            (labels[:, None] == other_labels)
            & ((scores[:, None] - other_scores).abs() <= tolerance)
            & ((boxes[:, None] - other_boxes).abs().amax(-1) <= tolerance)
        )
        count += int((counted & ~matches.any(1)).sum())
    return count


def _largest_of_masks(expected: dict[str, Tensor], actual: dict[str, Tensor], tolerance: float) -> float:
    if MASKS not in expected:
        return 0.0
    same = (expected["labels"] == actual["labels"]) & (expected["labels"] >= 0)
    for name in ("boxes", "scores"):
        difference = (expected[name] - actual[name]).abs()
        same &= (difference.amax(-1) if difference.dim() > same.dim() else difference) <= tolerance
    probabilities = (outputs[MASKS][same].sigmoid() for outputs in (expected, actual))
    return _largest(torch.sub(*probabilities).abs().nan_to_num(torch.inf))


def _largest(differences: Tensor) -> float:
    return float(differences.detach().max()) if differences.numel() else 0.0
