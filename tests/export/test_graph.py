"""The traced part of a detector is the detector."""

import torch

from querydet.export.graph import DetectionGraph, pad_images
from querydet.modeling.postprocess import NMSPostprocess
from querydet.modeling.selection import NMSSelection
from tests.export.detectors import noise, small_detector

SIZES = [(150, 203), (180, 131)]


def test_what_lies_outside_of_an_image_does_not_matter() -> None:
    graph = DetectionGraph(small_detector("dino"))
    images, sizes = pad_images(noise(SIZES))
    with torch.no_grad():
        wanted = graph(images, sizes)
        images[0, :, 150:] = 99.0
        images[1, :, :, 131:] = 255.0
        found = graph(images, sizes)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_suppression_has_something_to_do() -> None:
    """Or the comparisons above would prove little."""
    detector = small_detector("deta")
    selection, postprocess = detector.selection, detector.postprocess
    assert isinstance(selection, NMSSelection)
    assert isinstance(postprocess, NMSPostprocess)
    inputs = pad_images(noise(SIZES))
    graph = DetectionGraph(detector)
    with torch.no_grad():
        suppressed = graph(*inputs)
        selection.iou_threshold = 1.0
        all_proposals = graph(*inputs)
        postprocess.iou_threshold = 1.0
        everything = graph(*inputs)
    assert not torch.equal(all_proposals["query_boxes"], suppressed["query_boxes"])
    assert 5 < (all_proposals["labels"] >= 0).sum() < (everything["labels"] >= 0).sum()
