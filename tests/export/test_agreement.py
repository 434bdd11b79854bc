"""Detections of a reduced precision have counterparts."""

import pytest
import torch

from querydet.export.agreement import Agreement, compare_detections, count_matched
from querydet.export.graph import DetectionGraph
from tests.export.detectors import noise, small_detector

SIZES = [(150, 203), (180, 131)]


def outputs() -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor([[[0.0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0.2, 0.2, 0.4, 0.4], [0, 0, 0, 0]]]),
        "scores": torch.tensor([[0.9, 0.6, 0.2, 0.0]]),
        "labels": torch.tensor([[0, 1, 2, -1]]),
    }


def test_confident_detections_are_counted_wherever_they_stand() -> None:
    swapped = {name: values[:, [2, 1, 0, 3]] for name, values in outputs().items()}
    assert count_matched(outputs(), swapped) == (2, 2)  # the third has less than half of the best score


@pytest.mark.parametrize(
    ("name", "value", "matched"),
    [
        ("labels", 3, 1),
        ("scores", 0.75, 1),
        ("scores", 0.85, 2),
        ("boxes", torch.tensor([0.0, 0, 0.5, 0.3]), 1),
        ("boxes", torch.tensor([0.0, 0, 0.5, 0.45]), 2),
    ],
)
def test_a_counterpart_has_label_place_and_score(name: str, value: object, matched: int) -> None:
    changed = outputs()
    changed[name][0, 0] = value
    assert count_matched(outputs(), changed) == (2, matched)


def test_missing_and_additional_detections_both_count() -> None:
    detector = small_detector("dino").train()
    graph = DetectionGraph(detector)

    def blind(images: torch.Tensor, sizes: torch.Tensor) -> dict[str, torch.Tensor]:
        found = detector.eval() and graph(images, sizes)
        detector.train()
        return {**found, "labels": torch.full_like(found["labels"], 5)}

    with torch.no_grad():
        found = compare_detections(detector, blind, noise(SIZES))
    assert detector.training
    assert found.sizes == tuple(SIZES)
    assert found.detections > 2
    assert found.matched < found.detections
    assert Agreement((), 0, 0).share == 1.0
