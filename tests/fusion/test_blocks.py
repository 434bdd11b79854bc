"""Fused blocks of Detectron2's ResNet compute what the blocks compute."""

import pytest
import torch
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from torch import nn

from querydet.fusion import PackedLayers, exchange_modules
from querydet.fusion.blocks import FusedBlock, FusedStem
from querydet.fusion.rules import RULES
from tests.fusion.test_folding import random_norm

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def frozen(channels):
    return random_norm(nn.BatchNorm2d, channels)


BLOCKS = {
    "basic": lambda: BasicBlock(8, 8, norm=frozen),
    "basic, stride 2": lambda: BasicBlock(8, 16, stride=2, norm=frozen),
    "bottleneck": lambda: BottleneckBlock(8, 8, bottleneck_channels=4, norm=frozen),
    "bottleneck, groups and dilation": lambda: BottleneckBlock(
        8, 16, bottleneck_channels=8, stride=2, num_groups=2, dilation=2, stride_in_1x1=True, norm=frozen
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name):
    block, maps = BLOCKS[name]().eval(), torch.randn(2, 8, 12, 10).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = block(maps)
        fused = exchange_modules(block, PackedLayers(), RULES)
        before = maps.clone()
        torch.testing.assert_close(fused(maps), expected, rtol=1e-5, atol=1e-5)
    assert isinstance(fused, FusedBlock)
    assert torch.equal(maps, before)


def test_the_stem():
    stem, images = BasicStem(norm=frozen).eval(), torch.randn(1, 3, 33, 40)
    with torch.inference_mode():
        expected = stem(images)
        fused = exchange_modules(stem, PackedLayers(), RULES)
        torch.testing.assert_close(fused(images), expected, rtol=1e-5, atol=1e-5)
    assert isinstance(fused, FusedStem)


def test_a_block_whose_norms_are_not_fixed_keeps_its_form():
    block = BasicBlock(8, 8, norm=lambda channels: nn.GroupNorm(2, channels)).eval()
    maps = torch.randn(1, 8, 6, 6)
    with torch.inference_mode():
        expected = block(maps)
        kept = exchange_modules(block, PackedLayers(), RULES)
        torch.testing.assert_close(kept(maps), expected)
    assert isinstance(kept, BasicBlock)
