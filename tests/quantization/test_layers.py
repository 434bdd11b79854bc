"""8-bit layers compute exactly what their codes stand for; the oracle is PyTorch in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F

from querydet.fusion import Grid
from querydet.fusion.folding import Folded
from querydet.ops.quantize import quantize
from querydet.quantization.layers import LayerCodes, QuantizedConv2d, QuantizedLinear, numbers_of, weight_codes
from querydet.quantization.support import missing_support

pytestmark = pytest.mark.skipif(bool(missing_support()), reason=f"no 8-bit products here: {missing_support()}")

ENTRY, ADDEND, INTO = Grid(0.03, 100), Grid(0.05, 7), Grid(0.07, 11)
CONV = Folded(torch.empty(0), None, (2, 1), (1, 1), (1, 1), 1)


def numbers(codes, grid):
    return (codes.double() - grid.zero_point) * grid.scale


def make(kind, dtype, relu):
    """A layer, its inputs as codes, and the exact result."""
    weight = torch.randn(24, 16) if kind == "linear" else torch.randn(24, 16, 3, 3)
    codes = LayerCodes(*weight_codes(weight), torch.randn(24), ENTRY, ADDEND)
    exact = codes.weight.double() * codes.weight_scale.double().view(-1, *[1] * (weight.dim() - 1))
    if kind == "linear":
        values = torch.randint(0, 256, (2, 5, 16), dtype=torch.uint8)
        return QuantizedLinear(codes, dtype, relu), values, F.linear(numbers(values, ENTRY), exact, codes.bias.double())
    values = torch.randint(0, 256, (2, 16, 6, 7), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    result = F.conv2d(numbers(values, ENTRY), exact, codes.bias.double(), CONV.stride, CONV.padding)
    return QuantizedConv2d(codes, dtype, CONV, relu), values, result


def assert_exact(found, expected, into, terms):
    if into is None:
        limit = 1e-6 if found.dtype == torch.float32 else 2.0**-8
        assert ((found.double() - expected).abs() <= 2 * limit * expected.abs().clamp(min=terms)).all()
        return
    assert found.dtype == torch.uint8
    codes = (expected / into.scale + into.zero_point).clamp(0, 255)
    # in float32 a number between two codes may go to either
    assert ((found.double() - codes).abs() <= 0.5 + 1e-4).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("into", [None, INTO])
@pytest.mark.parametrize(
    ("kind", "add"),
    [
        ("linear", None),
        ("linear", "numbers"),
        ("convolution", None),
        ("convolution", "numbers"),
        ("convolution", "codes"),
    ],
)
def test_a_layer_computes_what_its_codes_stand_for(kind, dtype, relu, into, add):
    torch.manual_seed(0)
    layer, values, exact = make(kind, dtype, relu)
    addend = None
    if add == "numbers":
        addend = torch.randn(exact.shape).to(dtype)
        rounded = kind == "convolution" and into is not None
        exact = exact + (numbers(codes_of(addend), ADDEND) if rounded else addend.double())
    elif add == "codes":
        addend = torch.randint(0, 256, exact.shape, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
        exact = exact + numbers(addend, ADDEND)
    terms = 1 if addend is None else float(exact.abs().max())  # of which one is rounded before the sum
    assert_exact(layer(values, addend, into), exact.relu() if relu else exact, into, terms)


def codes_of(values):
    return quantize(values, ADDEND.scale, ADDEND.zero_point)


def test_numbers_are_rounded_to_codes_first():
    layer, codes, _ = make("linear", torch.float32, False)
    assert torch.equal(layer(numbers(codes, ENTRY).float()), layer(codes))
    assert torch.equal(layer(numbers(codes, ENTRY).bfloat16()), layer(quantized_bfloat16(codes)))


def quantized_bfloat16(codes):
    return quantize(numbers(codes, ENTRY).bfloat16(), ENTRY.scale, ENTRY.zero_point)


def test_codes_that_are_added_are_overwritten_and_numbers_are_not():
    layer, values, exact = make("convolution", torch.float32, True)
    addend = torch.randn(exact.shape).contiguous(memory_format=torch.channels_last)
    before = addend.clone()
    layer(values, addend)
    layer(values, addend, INTO)
    assert torch.equal(addend, before)


def test_weights_lose_at_most_half_a_step_and_a_channel_of_zeros_is_exact():
    weight = torch.randn(6, 8)
    weight[3] = 0
    codes, scale = weight_codes(weight)
    assert codes.abs().max() == 127
    assert ((codes * scale[:, None] - weight).abs() <= scale[:, None] * 0.5001).all()
    assert not codes[3].any()


def test_numbers_of_codes():
    codes = torch.tensor([0, 7, 255], dtype=torch.uint8)
    assert numbers_of(codes, Grid(0.5, 7), torch.float32).tolist() == [-3.5, 0.0, 124.0]
    assert numbers_of(codes, Grid(0.5, 0), torch.float32).tolist() == [0.0, 3.5, 127.5]


def test_the_weight_can_be_looked_at():
    weight = torch.randn(24, 16, 3, 3)
    layer = QuantizedConv2d(LayerCodes(*weight_codes(weight), None, ENTRY, None), torch.float32, CONV)
    assert (layer.weight - weight).abs().max() < weight.abs().max() / 127


def test_layers_can_be_copied():
    layer, values, _ = make("linear", torch.float32, False)
    assert torch.equal(copy.deepcopy(layer)(values), layer(values))
