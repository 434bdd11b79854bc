"""Masks of detections leave the graph as logits, and are pasted as the detector pastes them."""

import torch

from querydet.export.graph import DetectionGraph, output_names, pad_images
from querydet.export.masks import GivenMasks, MaskPaster, mask_settings
from querydet.modeling.postprocess import make_instances
from tests.export.detectors import noise, small_detector


def test_detectors_without_masks_have_no_such_output() -> None:
    detector = small_detector("dino")
    assert mask_settings(detector) is None
    assert "masks" not in output_names(detector)


def test_masks_are_those_of_the_queries_of_the_detections() -> None:
    detector = small_detector("dino_masks")
    with torch.no_grad():
        found = DetectionGraph(detector)(*pad_images(noise([(150, 203), (180, 131)])))
    same_query = (found["masks"][0][:, None] == found["masks"][0][None]).flatten(2).all(-1)
    assert same_query.fill_diagonal_(False).any(), "a query that is detected as two classes has one mask"
    assert found["masks"].shape[:2] == found["labels"].shape


def test_given_masks_are_addressed_by_number() -> None:
    logits = torch.randn(1, 5, 3, 4)
    masks = GivenMasks(logits, (12, 16))
    numbers = torch.tensor([[4.0], [0.0]])
    assert torch.equal(masks.of_image(0, numbers), logits[0, [4, 0]])
    assert torch.equal(masks.of_batch(numbers[None])[0], logits[0, [4, 0]])


def test_masks_cover_the_batch_rounded_up() -> None:
    """A mask of the left half of a canvas of 64 x 64, of which the image has 40 x 60."""
    logits = torch.full((1, 16, 16), -5.0)
    logits[:, :, :8] = 5.0
    paster = MaskPaster({"divisor": 32, "resize": "bilinear", "rescore": False, "boxes_from_masks": True})
    box, first = torch.tensor([[0.0, 0, 1, 1]]), torch.zeros(1, dtype=torch.int64)
    instances = make_instances(box, torch.ones(1), first, first, (40, 60), clip=False)
    pasted = paster(instances, logits, (41, 60), (40, 60))
    assert pasted.pred_masks[0, :, :32].all()
    assert not pasted.pred_masks[0, :, 32:].any()
    assert pasted.pred_boxes.tensor.tolist() == [[0, 0, 32, 40]]
