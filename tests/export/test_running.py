"""An exported model in the place of its detector."""

import pytest
import torch

from querydet.export.graph import DetectionGraph
from querydet.export.operators import DEFINITIONS
from querydet.export.running import ExportedDetector
from tests.export.detectors import noise, small_detector

SIZES = [(150, 203), (180, 131)]


@pytest.mark.parametrize(("name", "keep"), [("dino", ()), ("deta", ()), ("deta", tuple(DEFINITIONS))])
def test_in_the_place_of_a_detector_it_detects_the_same(name: str, keep: tuple) -> None:
    detector = small_detector(name)
    inputs = [{"image": image, "height": 300, "width": 400} for image in noise(SIZES)]
    exported = ExportedDetector(DetectionGraph(detector, keep), (1, 1))
    with torch.no_grad():
        for wanted, found in zip(detector(inputs), exported(inputs), strict=True):
            assert len(wanted["instances"]) > 5
            assert torch.equal(found["instances"].pred_classes, wanted["instances"].pred_classes)
            assert torch.allclose(found["instances"].scores, wanted["instances"].scores, atol=1e-5)
            boxes, others = (each["instances"].pred_boxes.tensor for each in (found, wanted))
            assert torch.allclose(boxes, others, atol=1e-2)
