"""The check of an export can fail."""

import pytest
import torch

from querydet.export.checking import count_unmatched, measure
from querydet.export.graph import DetectionGraph
from tests.export.detectors import noise, small_detector

SIZES = [(150, 203), (180, 131)]


def test_differences_are_found() -> None:
    """The check of an export can fail."""
    detector = small_detector("dino")
    graph = DetectionGraph(detector)

    def wrong(images: torch.Tensor, sizes: torch.Tensor) -> dict[str, torch.Tensor]:
        return graph(images, torch.full_like(sizes, images.shape[-1]))  # takes padding for image

    assert measure(detector, graph, noise(SIZES), 1e-3).within(1e-3)
    assert not measure(detector, wrong, noise(SIZES), 1e-3).within(1e-3)
    detections = {
        "boxes": torch.rand(1, 4, 4),
        "scores": torch.tensor([[0.9, 0.5, 0.4, 0.0]]),
        "labels": torch.tensor([[0, 1, 2, -1]]),
    }
    swapped = {name: values[:, [1, 0, 2, 3]] for name, values in detections.items()}
    assert count_unmatched(detections, swapped, 1e-3) == 0
    relabelled = {**detections, "labels": torch.tensor([[0, 3, 2, -1]])}
    moved = {**detections, "boxes": detections["boxes"] + torch.tensor([[[0.01], [0], [0], [0]]])}
    assert count_unmatched(detections, relabelled, 1e-3) == count_unmatched(detections, moved, 1e-3) == 1


@pytest.mark.parametrize(("name", "count", "passes"), [("dino", 2, True), ("dino", 4, False), ("dn_detr", 2, False)])
def test_a_pair_of_swapped_ranks_is_left_out_and_no_more(name: str, count: int, passes: bool) -> None:
    detector = small_detector(name)
    graph = DetectionGraph(detector)

    def swapping(images: torch.Tensor, sizes: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = graph(images, sizes)
        outputs["logits"][0, :count] += 0.5
        return outputs

    with torch.no_grad():
        found = measure(detector, swapping, noise(SIZES), 1e-3)
    assert found.within(1e-3) == passes
    assert found.swapped == (2 if passes else 0)
