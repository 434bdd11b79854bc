"""Does an exported model compute what the detector computes?

Another runtime rounds differently. Where two proposals score alike to the last digits, that may swap their ranks; as
the content of a query may belong to its rank, the two queries then end elsewhere, and others, which attend to them,
differ a little: on either side rightly so. Such images are compared less strictly, and the queries counted. An error in
a graph would show in most of the queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from querydet.export.graph import DetectionGraph, pad_images
from querydet.export.operators import DEFINITIONS
from querydet.modeling.detector import QueryDetector
from querydet.traits import trait

SPREAD = 100.0  # times the tolerance: how far queries may move with others whose ranks were swapped; ours

Run = Callable[[Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences of a batch between the detector and what was exported from it."""

    sizes: tuple[tuple[int, int], ...]  # (height, width) of the images
    logits: float
    query_boxes: float  # in parts of the image
    detections: int  # that only one of the two has, or with a score or a coordinate that differs by more
    compared: int  # images that these numbers are of
    swapped: int  # queries whose ranks seem swapped; their images are not among these

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
    differences = {name: (wanted[name] - found[name]).abs().nan_to_num(torch.inf) for name in ("logits", "query_boxes")}
    gross = torch.stack([values.amax(-1) > SPREAD * tolerance for values in differences.values()]).any(0)  # (B, Q)
    swapped = gross & (gross.sum(1, keepdim=True) <= _most_swapped(detector))
    same = ~swapped.any(1)
    wanted, found = ({name: value[same] for name, value in each.items()} for each in (wanted, found))
    return Difference(
        sizes=tuple((height, width) for height, width in inputs[1].tolist()),
        logits=_largest(differences["logits"][same]),
        query_boxes=_largest(differences["query_boxes"][same]),
        detections=count_unmatched(wanted, found, tolerance) + count_unmatched(found, wanted, tolerance),
        compared=int(same.sum()),
        swapped=int(swapped.sum()),
    )


def _most_swapped(detector: QueryDetector) -> int:
    """How many queries of an image may be left out: two of a hundred, or one pair; none where nothing is ranked."""
    selection = detector.selection
    return max(2, selection.num_queries // 50) if trait(selection, "has_encoder_predictions") else 0


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


def _largest(differences: Tensor) -> float:
    return float(differences.max()) if differences.numel() else 0.0
