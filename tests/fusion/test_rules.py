import torch
from detectron2.layers import Conv2d
from torch import nn

from querydet.fusion import PackedConv2d, PackedLayers, exchange_modules
from querydet.fusion.rules import RULES


def test_convolutions_of_detectron2_take_norm_and_relu_in():
    conv = Conv2d(3, 4, 3, norm=nn.BatchNorm2d(4), activation=nn.ReLU()).eval()
    images = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        expected = conv(images)
        fused = exchange_modules(conv, PackedLayers(), RULES)
        torch.testing.assert_close(fused(images), expected, rtol=1e-5, atol=1e-5)
    assert isinstance(fused, PackedConv2d)


def test_another_activation_is_left_to_its_module():
    conv = Conv2d(3, 4, 3, activation=nn.GELU())
    assert exchange_modules(conv, PackedLayers(), RULES) is conv


def test_attention_of_pytorch_keeps_its_weights():
    attention = nn.MultiheadAttention(8, 2)
    assert exchange_modules(attention, PackedLayers(), RULES).out_proj is attention.out_proj
