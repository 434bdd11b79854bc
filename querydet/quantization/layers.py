"""Layers that compute with 8-bit codes: products and convolutions of oneDNN.

Codes of inputs are unsigned, with one scale and one zero point for a tensor; codes of weights are signed, with a scale
for every output channel and no zero point. Sums are exact integers of 32 bit; what leaves a layer are codes for the one
that alone reads them, or numbers.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from querydet.fusion import Grid
from querydet.fusion.folding import Folded
from querydet.ops.quantize import quantize

WEIGHT_MOST = 127  # codes of weights are within -127 and 127


@dataclass(frozen=True, slots=True)
class LayerCodes:
    """What an 8-bit layer consists of."""

    weight: Tensor  # int8, (out, in), or (out, in / groups, kernel, kernel)
    weight_scale: Tensor  # (out,)
    bias: Tensor | None  # (out,), float32
    entry: Grid
    addend: Grid | None  # None: nothing is ever added


def weight_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the codes of a weight, int8, and the scale of each output channel."""
    scale = weight.flatten(1).abs().amax(1).clamp(min=torch.finfo(torch.float32).eps) / WEIGHT_MOST
    steps = scale.view(-1, *[1] * (weight.dim() - 1))
    return (weight / steps).round().clamp(-WEIGHT_MOST, WEIGHT_MOST).to(torch.int8), scale


def numbers_of(codes: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
    """Return what codes stand for."""
    numbers = codes.to(dtype)
    return (numbers.sub_(grid.zero_point) if grid.zero_point else numbers).mul_(grid.scale)


class _Quantized(nn.Module):
    """Base of both: packed weights have no storage of their own that could be copied, and never change."""

    def __init__(self, codes: LayerCodes, dtype: torch.dtype, relu: bool) -> None:
        super().__init__()
        self.dtype, self.activation = dtype, "relu" if relu else "none"
        self.entry, self.addend = codes.entry, codes.addend
        self.bias, self.scales, self._weight = codes.bias, codes.weight_scale, codes.weight
        self.zero_points = torch.zeros(len(codes.weight), dtype=torch.int64)

    @property
    def weight(self) -> Tensor:
        """The weight that the codes stand for, made at every call: for those who only look."""
        return numbers_of(self._weight, Grid(1.0, 0), self.dtype) * self.scales.view(
            -1, *[1] * (self._weight.dim() - 1)
        )

    def codes_of(self, values: Tensor) -> Tensor:
        """Return the codes of the inputs, which may be codes already."""
        if values.dtype == torch.uint8:
            return values
        return quantize(values, self.entry.scale, self.entry.zero_point)

    def result(self, into: Grid | None) -> tuple[float, int, torch.dtype]:
        """Return scale, zero point and type of the result."""
        return (1.0, 0, self.dtype) if into is None else (into.scale, into.zero_point, torch.uint8)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Quantized":
        return copy.copy(self)


class QuantizedLinear(_Quantized):
    """A product of codes.

    Args:
        codes: weights and grids.
        dtype: float32 or bfloat16, of results that are numbers.
        relu: whether a ReLU follows.
    """

    def __init__(self, codes: LayerCodes, dtype: torch.dtype, relu: bool = False) -> None:
        super().__init__(codes, dtype, relu)
        self.packed = torch.ops.onednn.qlinear_prepack(codes.weight.contiguous(), None)

    def forward(self, values: Tensor, add: Tensor | None = None, into: Grid | None = None) -> Tensor:
        """Map (..., in) to (..., out); see `querydet.fusion.layers.Layer`."""
        weight = (self.packed, self.scales, self.zero_points)
        inputs = (self.codes_of(values), self.entry.scale, self.entry.zero_point, *weight)
        if add is None:
            after = (*self.result(into), self.activation, [None], "")
            return torch.ops.onednn.qlinear_pointwise.default(*inputs, self.bias, *after)
        sum_of = (1.0, 0, "add", 1.0)  # what codes to add stand for, the operation, and a factor
        product = torch.ops.onednn.qlinear_pointwise.binary
        addend = add.to(self.dtype)
        return product(*inputs, addend, self.bias, *self.result(into), *sum_of, self.activation, [None], "")


class QuantizedConv2d(_Quantized):
    """A convolution of codes.

    Args:
        codes: weights and grids.
        dtype: float32 or bfloat16, of results that are numbers.
        folded: its settings.
        relu: whether a ReLU follows.
    """

    def __init__(self, codes: LayerCodes, dtype: torch.dtype, folded: Folded, relu: bool = False) -> None:
        super().__init__(codes, dtype, relu)
        self.settings = (list(folded.stride), list(folded.padding), list(folded.dilation), folded.groups)
        weight = codes.weight.contiguous(memory_format=torch.channels_last)
        prepack = torch.ops.onednn.qconv_prepack
        grid = codes.entry
        self.packed = prepack(weight, codes.weight_scale, grid.scale, grid.zero_point, *self.settings, None)

    def forward(self, maps: Tensor, add: Tensor | None = None, into: Grid | None = None) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride); see `querydet.fusion.layers.Layer`."""
        weight = (self.packed, self.scales, self.zero_points)
        inputs = (self.codes_of(maps), self.entry.scale, self.entry.zero_point, *weight)
        if add is None:
            result: tuple[Any, ...] = (*self.result(into), self.activation, [], "")
            return torch.ops.onednn.qconv_pointwise.default(*inputs, self.bias, *self.settings, *result)
        into = into if self.addend is not None else None
        total, grid = self.addend_of(add, into)
        sum_of = (grid.scale, grid.zero_point, "sum", 1.0)
        convolve = torch.ops.onednn.qconv2d_pointwise.binary
        settings = (*self.settings, *self.result(into), *sum_of)
        return convolve(*inputs, total, self.bias, *settings, self.activation, [], "")

    def addend_of(self, add: Tensor, into: Grid | None) -> tuple[Tensor, Grid]:
        """Return what is added in the type of the result, which is written over it, and what it stands for."""
        add = add.contiguous(memory_format=torch.channels_last)
        if into is None and add.is_floating_point():
            return add.to(self.dtype, copy=True), Grid(1.0, 0)
        assert self.addend is not None
        if into is None:
            return numbers_of(add, self.addend, self.dtype), Grid(1.0, 0)
        codes = add if add.dtype == torch.uint8 else quantize(add, self.addend.scale, self.addend.zero_point)
        return codes, self.addend
