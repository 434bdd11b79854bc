"""Layers that compute in float32 and watch the numbers that they are given, for the ranges of 8-bit codes.

The observers are those of PyTorch (`torch.ao.quantization`).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.quantization.observer import HistogramObserver, MinMaxObserver, UniformQuantizationObserverBase

from querydet.fusion import Grid, PackedConv2d, PackedLinear
from querydet.fusion.folding import Folded
from querydet.quantization.layers import LayerCodes, QuantizedConv2d, QuantizedLinear, weight_codes

MOST = 255  # the largest code
SAMPLES = 2**16  # numbers of a tensor that a histogram counts, beside its least and its largest
_CODES = {"dtype": torch.uint8, "quant_min": 0, "quant_max": MOST, "qscheme": torch.per_tensor_affine}
OBSERVERS: dict[str, Callable[..., UniformQuantizationObserverBase]] = {
    "minmax": MinMaxObserver,
    "histogram": HistogramObserver,
}


class ObservedRange:
    """Watches one tensor of a detector over images.

    Args:
        observer: one of `OBSERVERS`.
    """

    def __init__(self, observer: str) -> None:
        self.observer = OBSERVERS[observer](**_CODES)
        self.seen = False

    def watch(self, values: Tensor) -> None:
        """Take in the numbers of an image, of any shape."""
        values = values.detach().flatten()
        if values.numel() > SAMPLES and isinstance(self.observer, HistogramObserver):
            ends = torch.stack(values.aminmax())
            values = torch.cat([values[:: values.numel() // SAMPLES], ends])
        self.observer(values)
        self.seen = True

    def grid(self) -> Grid:
        """Return the codes for the numbers that were seen."""
        scale, zero_point = self.observer.calculate_qparams()
        return Grid(float(scale), int(zero_point))


class Observed(nn.Module):
    """A layer in float32.

    Args:
        weight: (out, in), or (out, in / groups, kernel, kernel) of a convolution.
        bias: (out,); None: none.
        relu: whether a ReLU follows.
        folded: the settings of a convolution; None: a linear layer.
        observer: one of `OBSERVERS`; None: it computes classes or boxes, and stays in float32 in any case.
    """

    entry: Grid | None = None
    addend: Grid | None = None

    def __init__(
        self, weight: Tensor, bias: Tensor | None, relu: bool, folded: Folded | None, observer: str | None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.relu, self.folded = relu, folded
        self.inputs, self.addends = (None if observer is None else ObservedRange(observer) for _ in range(2))

    def forward(self, values: Tensor, add: Tensor | None = None, into: Grid | None = None) -> Tensor:
        """Compute the layer; see `querydet.fusion.layers.Layer`."""
        if self.inputs is not None:
            self.inputs.watch(values)
        if self.folded is None:
            result = F.linear(values, self.weight, self.bias)
        else:
            settings = (self.folded.stride, self.folded.padding, self.folded.dilation, self.folded.groups)
            result = F.conv2d(values, self.weight, self.bias, *settings)
        if add is not None:
            if self.addends is not None:
                self.addends.watch(add)
            result = result + add
        return result.relu() if self.relu else result

    def in_float(self, dtype: torch.dtype) -> nn.Module:
        """Return the layer in floating point; one of classes and boxes in float32."""
        dtype = torch.float32 if self.inputs is None else dtype
        if self.folded is None:
            return PackedLinear(self.weight, self.bias, dtype, self.relu)
        return PackedConv2d(replace(self.folded, weight=self.weight, bias=self.bias), dtype, self.relu)

    def in_8_bit(self, codes: LayerCodes, dtype: torch.dtype) -> nn.Module:
        """Return the layer made of 8-bit codes, whose results are of a floating point type."""
        if self.folded is None:
            return QuantizedLinear(codes, dtype, self.relu)
        return QuantizedConv2d(codes, dtype, self.folded, self.relu)

    def codes(self) -> LayerCodes | None:
        """Return the codes of the layer for the numbers that it has seen; None: it has seen none."""
        if self.inputs is None or not self.inputs.seen:
            return None
        weight, scale = weight_codes(self.weight)
        addend = self.addends.grid() if self.addends is not None and self.addends.seen else None
        return LayerCodes(weight, scale, self.bias, self.inputs.grid(), addend)


class ObservedLayers:
    """Makes layers that compute in float32 and observe.

    Args:
        observer: one of `OBSERVERS`; None: nothing is observed.
    """

    def __init__(self, observer: str | None = "minmax") -> None:
        self.observer = observer

    def linear(self, linear: nn.Linear, relu: bool = False) -> nn.Module:
        """Return an observed layer; see `querydet.fusion.layers.Layers`."""
        return Observed(linear.weight, linear.bias, relu, None, self.observer)

    def conv(self, folded: Folded, relu: bool = False) -> nn.Module:
        """Return an observed convolution; see `querydet.fusion.layers.Layers`."""
        return Observed(folded.weight, folded.bias, relu, folded, self.observer)

    def full_precision(self) -> "ObservedLayers":
        """Return the maker of layers that stay in float32."""
        return ObservedLayers(None)
