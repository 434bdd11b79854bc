"""Fused detectors compute what the detectors compute."""

import copy

import pytest
import torch

from querydet.fusion import PackedLinear, can_fuse, fuse
from querydet.modeling.geometry import padding_mask
from tests.models import COMPOSITIONS, make_inputs, tiny_detector

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def predictions(detector, sizes):
    """The last predictions for a batch of random images."""
    images = detector.preprocess(make_inputs(sizes))
    with torch.inference_mode():
        return detector.detect(images.tensor, padding_mask(images))


def assert_close(found, expected):
    """Equal up to the rounding of some dozen layers; the layers themselves are compared more sharply elsewhere."""
    scale = expected.logits.abs().max()
    torch.testing.assert_close(found.logits / scale, expected.logits / scale, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_float32_equals_the_detector_and_bfloat16_has_boxes_in_float32(name):
    detector, sizes = tiny_detector(name).eval(), [(96, 128), (64, 101)]
    expected, found = predictions(detector, sizes), predictions(fuse(detector), sizes)
    assert_close(found, expected)
    fused = fuse(detector, torch.bfloat16)
    seen = []
    fused.heads.register_forward_hook(lambda module, inputs, outputs: seen.extend(outputs))
    with torch.inference_mode():
        instances = fused(make_inputs(sizes))
    assert seen[-1].logits.dtype == seen[-1].boxes.dtype == torch.float32
    assert all(len(each["instances"]) for each in instances)


@pytest.mark.parametrize("name", ["dino", "deta", "detr"])
def test_an_image_without_padding_gives_equal_results(name):
    detector = tiny_detector(name).eval()
    expected, found = predictions(detector, [(96, 128)]), predictions(fuse(detector), [(96, 128)])
    assert_close(found, expected)


def test_the_detector_stays_as_it_is():
    detector = tiny_detector("dino").eval()
    before = copy.deepcopy(detector.state_dict())
    names = [type(module) for module in detector.modules()]
    fuse(detector)
    assert names == [type(module) for module in detector.modules()]
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())


def test_later_training_does_not_change_a_fused_form():
    detector = tiny_detector("dino").eval()
    fused = fuse(detector)
    expected = predictions(fused, [(96, 128)])
    for parameter in detector.encoder.layers.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(2)
    assert torch.equal(predictions(fused, [(96, 128)]).logits, expected.logits)


def test_a_fused_form_can_be_copied():
    fused = fuse(tiny_detector("dino").eval())
    copied = copy.deepcopy(fused)
    assert torch.equal(predictions(copied, [(96, 128)]).logits, predictions(fused, [(96, 128)]).logits)


def test_every_product_of_dino_is_packed():
    fused = fuse(tiny_detector("dino").eval())
    for part in (fused.encoder, fused.decoder, fused.heads, fused.selection):
        plain = [name for name, module in part.named_modules() if type(module) is torch.nn.Linear]
        assert not plain
    assert any(isinstance(module, PackedLinear) for module in fused.encoder.modules())


@pytest.mark.parametrize("other", [torch.device("meta"), torch.float64])
def test_only_detectors_in_float32_on_a_cpu_have_a_fused_form(other):
    assert not can_fuse(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="meta" if other == torch.device("meta") else "float64"):
        fuse(tiny_detector("dino").to(other))
