"""Detectors in 8 bit compute nearly what the detectors do."""

import copy

import pytest
import torch
from detectron2.modeling.backbone.resnet import BasicStem, BottleneckBlock, ResNet
from torch import nn

from querydet.fusion import exchange_modules, is_fused
from querydet.fusion.blocks import FusedBlock
from querydet.fusion.rules import RULES
from querydet.modeling.geometry import padding_mask
from querydet.quantization.detector import (
    calibrate,
    convert,
    exchange_observed,
    make_codes,
    observe,
    observed_layers,
)
from querydet.quantization.layers import QuantizedLinear
from querydet.quantization.observed import Observed, ObservedLayers
from querydet.quantization.support import missing_support
from tests.fusion.test_folding import random_norm
from tests.models import make_inputs, tiny_detector

pytestmark = pytest.mark.skipif(bool(missing_support()), reason=f"no 8-bit products here: {missing_support()}")

SIZES = [(96, 128), (64, 101)]


def frozen(channels):
    return random_norm(nn.BatchNorm2d, channels)


def quantize(detector, dtype=torch.float32, stay_float=()):
    observed = observe(detector)
    assert calibrate(observed, [make_inputs(SIZES)]) == len(SIZES)
    return convert(observed, make_codes(observed, stay_float), dtype)


def encoded(detector):
    """The encoded tokens and the last predictions; which tokens become queries depends on rounding."""
    images = detector.preprocess(make_inputs(SIZES))
    padding = padding_mask(images)
    with torch.inference_mode():
        tokens = detector.encode(detector.backbone(images.tensor), padding).tokens
        return tokens, detector.detect(images.tensor, padding)


def noise_of(found, expected):
    """The mean square of differences over that of the numbers."""
    return float((found - expected).square().mean() / expected.square().mean())


def resnet(num_blocks=2):
    """A narrow ResNet with frozen norms that do something."""
    torch.manual_seed(0)
    stages, width = [], 16
    for out, stride in ((16, 1), (32, 2), (64, 2)):
        settings = {"in_channels": width, "out_channels": out, "bottleneck_channels": 8, "norm": frozen}
        stages.append(
            ResNet.make_stage(
                BottleneckBlock, num_blocks, stride_per_block=[stride, *[1] * (num_blocks - 1)], **settings
            )
        )
        width = out
    return ResNet(BasicStem(3, 16, frozen), stages, out_features=["res3", "res4"]).eval()


def quantized_backbone(backbone, images):
    observed = exchange_modules(copy.deepcopy(backbone), ObservedLayers(), RULES).eval()
    observed(images)
    codes = make_codes(observed, ["stem"])
    exchange_observed(observed, lambda name, layer: in_form(name, layer, codes))
    return observed, codes


def in_form(name, layer, codes):
    return layer.in_8_bit(codes[name], torch.float32) if name in codes else layer.in_float(torch.float32)


def test_tokens_are_nearly_those_of_the_detector():
    detector = tiny_detector("dino").eval()
    tokens, last = encoded(quantize(detector))
    assert noise_of(tokens, encoded(detector)[0]) < 0.002
    assert last.logits.dtype == last.boxes.dtype == torch.float32


def test_blocks_hand_codes_to_each_other_and_numbers_to_the_neck():
    backbone, images = resnet(), torch.randn(2, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = backbone(images)
        quantized, codes = quantized_backbone(backbone, images)
        seen = {}
        for name, module in quantized.named_modules():
            if isinstance(module, FusedBlock):
                module.register_forward_hook(lambda _, inputs, result, name=name: seen.update({name: result.dtype}))
        found = quantized(images)
        again = quantized(images)
    assert "stem.conv" not in codes
    assert len(codes) == 3 * (3 + 3) + 2  # the first block of res2 has no convolution in its shortcut
    assert seen == {
        name: torch.float32 if name in ("res3.1", "res4.1") else torch.uint8
        for name in ("res2.0", "res2.1", "res3.0", "res3.1", "res4.0", "res4.1")
    }
    for name, maps in expected.items():
        assert noise_of(found[name], maps) < 0.01
        assert torch.equal(found[name], again[name])


def test_the_layers_of_a_block_stay_in_floating_point_together():
    observed = exchange_modules(resnet(), ObservedLayers(), RULES).eval()
    observed(torch.randn(1, 3, 64, 64))
    codes = make_codes(observed, ["stem", "res3.1.convolutions.2"])
    assert not [name for name in codes if name.startswith("res3.1")]
    assert [name for name in codes if name.startswith("res3.0")]
    with pytest.raises(ValueError, match="must be in 8 bit together"):
        convert(observed, {"res3.0.convolutions.0": codes["res3.0.convolutions.0"]}, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_detector_detects_on_images_of_several_sizes(dtype):
    quantized = quantize(tiny_detector("dino").eval(), dtype)
    with torch.inference_mode():
        outputs = quantized(make_inputs(SIZES))
        alone = quantized(make_inputs(SIZES[:1]))
    assert all(len(output["instances"]) for output in [*outputs, *alone])


@pytest.mark.parametrize("name", ["deformable_detr", "detr", "conditional_detr", "deta", "group_dino", "dino_masks"])
def test_other_methods(name):
    detector = tiny_detector(name).eval()
    quantized = quantize(detector)
    tokens, last = encoded(quantized)
    assert noise_of(tokens, encoded(detector)[0]) < 0.01
    assert last.logits.isfinite().all()
    assert last.boxes.isfinite().all()
    kinds = [type(module) for module in quantized.modules()]
    assert QuantizedLinear in kinds
    assert Observed not in kinds


def test_classes_and_boxes_are_computed_in_float32():
    quantized = quantize(tiny_detector("dino").eval(), torch.bfloat16)
    for part in (quantized.heads, quantized.selection.proposals.class_head, quantized.selection.proposals.box_head):
        layers = [module for module in part.modules() if isinstance(module, torch.nn.Linear)]
        assert layers
        assert all(layer.dtype == torch.float32 for layer in layers)


def test_the_detector_stays_as_it_is_and_its_form_refuses_to_train():
    detector = tiny_detector("dino").eval()
    before = copy.deepcopy(detector.state_dict())
    quantized = quantize(detector)
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())
    assert is_fused(quantized)
    assert not is_fused(detector)
    quantized.train()
    with pytest.raises(ValueError, match="only detects"):
        quantized(make_inputs(SIZES))


def test_the_codes_do_not_depend_on_the_order_of_images():
    detector = tiny_detector("dino").eval()
    found = []
    for sizes in ([(96, 128), (64, 101)], [(64, 101), (96, 128)]):
        observed = observe(detector)
        calibrate(observed, [make_inputs([size]) for size in sizes])
        found.append({name: codes.entry for name, codes in make_codes(observed).items()})
    assert found[0] == found[1]


def test_layers_to_keep_are_named_by_their_beginnings():
    observed = observe(tiny_detector("dino").eval())
    calibrate(observed, [make_inputs(SIZES)])
    codes = make_codes(observed, ["encoder.layers.0", "decoder"])
    assert codes
    assert not [name for name in codes if name.startswith(("encoder.layers.0.", "decoder."))]
    assert set(codes) < set(observed_layers(observed))
