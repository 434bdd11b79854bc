"""An exported model is used like the detector that it was made from."""

import pytest
import torch

from querydet.export.graph import DetectionGraph
from querydet.export.masks import mask_settings
from querydet.export.operators import DEFINITIONS
from querydet.export.running import ExportedDetector
from tests.export.detectors import assert_same_detections, noise, small_detector

SIZES = [(150, 203), (180, 131)]


@pytest.mark.parametrize(
    ("name", "keep"),
    [
        ("dino", ()),
        ("deta", ()),
        ("deta", tuple(DEFINITIONS)),
        ("dino_masks", ()),
        ("mask_deformable_detr", ()),
        ("group_mask2former", ()),
    ],
)
def test_called_like_a_detector_it_detects_the_same(name: str, keep: tuple) -> None:
    detector = small_detector(name)
    inputs = [{"image": image, "height": 300, "width": 400} for image in noise(SIZES)]
    exported = ExportedDetector(DetectionGraph(detector, keep), (1, 1), mask_settings(detector))
    with torch.no_grad():
        assert_same_detections(exported(inputs), detector(inputs))


def test_small_images_are_padded_and_empty_places_left_out() -> None:
    """An exported program has a least size, and always as many results."""
    seen = []

    def run_model(images: torch.Tensor, sizes: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append((tuple(images.shape), sizes.tolist()))
        return {
            "boxes": torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]]]),
            "scores": torch.tensor([[0.9, 0.0]]),
            "labels": torch.tensor([[3, -1]]),
        }

    (found,) = ExportedDetector(run_model, (65, 80))([{"image": torch.ones(3, 40, 100), "height": 20, "width": 60}])
    assert seen == [((1, 3, 65, 100), [[40, 100]])]
    instances = found["instances"]
    assert instances.image_size == (20, 60)
    assert instances.pred_boxes.tensor.tolist() == [[0, 0, 30, 20]]
    assert instances.pred_classes.tolist() == [3]
