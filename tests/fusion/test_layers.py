"""Packed layers compute what torch's layers do, with what follows them."""

import copy

import pytest
import torch
from torch import nn

from querydet.fusion.folding import fold
from querydet.fusion.layers import PackedLayers, PackedLinear, PackedPointwise

pytestmark = [
    pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"),
    pytest.mark.usefixtures("no_gradients"),
]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture
def no_gradients():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 48), (2, 5, 48), (1, 0, 48)])
def test_linear_layers(dtype, bias, shape):
    linear, values = nn.Linear(48, 20, bias=bias), torch.randn(shape)
    expected, add = linear(values), torch.randn(*shape[:-1], 20)
    limits = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    plain, relu = PackedLayers(dtype).linear(linear), PackedLayers(dtype).linear(linear, relu=True)
    assert plain(values).dtype == dtype
    torch.testing.assert_close(plain(values).float(), expected, **limits)
    torch.testing.assert_close(relu(values).float(), expected.relu(), **limits)
    torch.testing.assert_close(plain(values, add=add).float(), expected + add, **limits)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 1, "stride": (2, 3)},
        {"kernel_size": 1, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 4},
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolutions(dtype, options, layout):
    conv, maps = nn.Conv2d(8, 12, **options), torch.randn(2, 8, 11, 9).contiguous(memory_format=layout)
    expected, make = conv(maps), PackedLayers(dtype).conv
    add = torch.randn_like(expected)
    limits = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    plain, relu = make(fold(conv)), make(fold(conv), relu=True)
    assert plain(maps).dtype == dtype
    torch.testing.assert_close(plain(maps).float(), expected, **limits)
    torch.testing.assert_close(relu(maps).float(), expected.relu(), **limits)
    torch.testing.assert_close(plain(maps, add=add).float(), expected + add, **limits)
    torch.testing.assert_close(relu(maps, add=add).float(), (expected + add).relu(), **limits)


def test_layers_of_classes_and_boxes_are_float32():
    layers = PackedLayers(torch.bfloat16)
    assert layers.full_precision().linear(nn.Linear(4, 4))(torch.randn(3, 4)).dtype == torch.float32


def test_weights_can_be_looked_at_and_layers_copied():
    linear, conv = nn.Linear(48, 20), nn.Conv2d(8, 12, 3)
    packed = PackedLinear(linear.weight, linear.bias, torch.float32)
    assert isinstance(packed, nn.Linear)
    assert (packed.in_features, packed.out_features) == (48, 20)
    assert torch.equal(packed.weight, linear.weight)
    assert torch.equal(packed.bias, linear.bias)
    for of_maps in (conv, nn.Conv2d(8, 12, 1)):
        found = PackedLayers().conv(fold(of_maps))
        assert isinstance(found, nn.Conv2d)
        assert torch.equal(found.weight, of_maps.weight)
        assert torch.equal(found.bias, of_maps.bias)
    values = torch.randn(3, 48)
    assert torch.equal(copy.deepcopy(packed)(values), packed(values))


def test_pointwise_convolutions_in_float32_are_products_for_any_size_of_maps():
    conv = nn.Conv2d(8, 12, 1)
    packed = PackedLayers().conv(fold(conv), relu=True)
    assert isinstance(packed, PackedPointwise)
    for size in ((1, 1), (3, 40), (16, 16)):
        maps = torch.randn(2, 8, *size)
        torch.testing.assert_close(packed(maps), conv(maps).relu(), rtol=1e-5, atol=1e-5)
    assert torch.equal(copy.deepcopy(packed)(maps), packed(maps))
