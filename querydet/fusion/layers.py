"""Products and convolutions whose weights are laid out once, with what follows them as a part of them.

They call the operators of torch that its compiler fuses to on a CPU (`torch.ops.mkldnn`, oneDNN): a bias, a sum with
another tensor and a ReLU are applied to a result before it is written.
"""

import copy
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from querydet.fusion.folding import Folded


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that 8-bit codes stand for: `(code - zero_point) * scale`."""

    scale: float
    zero_point: int


class Layer(Protocol):
    """A layer of a fused module: a module that is called so.

    Args:
        entry: what the codes that it takes stand for; None: it takes no codes.
        addend: the same of codes to add.
    """

    entry: Grid | None
    addend: Grid | None

    def __call__(self, values: Tensor, add: Tensor | None = None, into: Grid | None = None) -> Tensor:
        """Compute the layer.

        Args:
            values: numbers, or codes where the layer has an `entry`.
            add: added to the result, before a ReLU; None: nothing. Codes are overwritten.
            into: what the codes of the result are to stand for; None: numbers. A layer in floating point returns
                numbers in any case, which a layer with an `entry` takes too.
        """


def as_layer(module: nn.Module) -> Layer:
    """Return a module that a maker of layers has made, by its type."""
    return cast(Layer, module)


class Layers(Protocol):
    """Makes the layers that fused modules are built from, in one numeric form."""

    def linear(self, linear: nn.Linear, relu: bool = False) -> nn.Module:
        """Return `linear`, and a ReLU after it, as a `Layer`.

        Args:
            linear: the layer.
            relu: whether a ReLU follows.
        """

    def conv(self, folded: Folded, relu: bool = False) -> nn.Module:
        """Return a convolution, and a ReLU after it, as a `Layer`.

        Args:
            folded: the convolution with its norm.
            relu: whether a ReLU follows, after the sum with `add`.
        """

    def full_precision(self) -> "Layers":
        """Return the makers of layers that compute in float32: of classes and boxes."""


class PackedLayers:
    """Makes layers that compute in one floating point type.

    Args:
        dtype: float32 or bfloat16.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype

    def linear(self, linear: nn.Linear, relu: bool = False) -> nn.Module:
        """Return the layer with packed weights; see `Layers`."""
        return PackedLinear(linear.weight, linear.bias, self.dtype, relu)

    def conv(self, folded: Folded, relu: bool = False) -> nn.Module:
        """Return the convolution with packed weights; see `Layers`."""
        # oneDNN lays float32 weights of 1x1 convolutions out for a size of maps, and converts them, in up to ten times
        # what the convolution takes, at every call with some other sizes; a product has one layout
        as_product = self.dtype == torch.float32 and folded.is_pointwise
        return (PackedPointwise if as_product else PackedConv2d)(folded, self.dtype, relu)

    def full_precision(self) -> "PackedLayers":
        """Return the maker of float32 layers."""
        return PackedLayers(torch.float32)


class _Packed(nn.Module):
    """Base of both: a packed weight has no storage of its own that could be copied, and never changes."""

    packed: Tensor
    offset: Tensor | None
    entry: Grid | None = None
    addend: Grid | None = None

    @property
    def weight(self) -> Tensor:
        """The weight, unpacked at every call: for those who only look."""
        return self.packed.to_dense()

    @property
    def bias(self) -> Tensor | None:
        """The bias (out,)."""
        return self.offset

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Packed":
        return copy.copy(self)


class PackedLinear(_Packed, nn.Linear):  # type: ignore[misc, override]  # the weight is no parameter
    """`values @ weight.T + bias`, then plus another tensor, or through a ReLU.

    Args:
        weight: (out, in).
        bias: (out,); None: none.
        dtype: float32 or bfloat16, of the product and its result.
        relu: whether a ReLU follows; not together with a sum.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, relu: bool = False) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight.shape
        self.dtype, self.relu = dtype, relu
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous(), None)
        self.offset = None if bias is None else bias.detach().to(dtype)

    def forward(self, values: Tensor, add: Tensor | None = None, into: Grid | None = None) -> Tensor:
        """Map (..., in) to (..., out), in the type of the layer.

        Args:
            values: (..., in).
            add: (..., out), added to the result; None: nothing.
            into: see `Layer`.
        """
        values = values.to(self.dtype)
        if add is None:
            activation = "relu" if self.relu else "none"
            return torch.ops.mkldnn._linear_pointwise(values, self.packed, self.offset, activation, [None], "")
        assert not self.relu
        return torch.ops.mkldnn._linear_pointwise.binary(values, add.to(self.dtype), self.packed, self.offset, "add")


class PackedConv2d(_Packed, nn.Conv2d):  # type: ignore[override]  # the weight is no parameter
    """A convolution with its norm folded in, then plus another tensor, then through a ReLU.

    Args:
        folded: the convolution.
        dtype: float32 or bfloat16, of the convolution and its result.
        relu: whether a ReLU follows.
    """

    def __init__(self, folded: Folded, dtype: torch.dtype, relu: bool = False) -> None:
        nn.Module.__init__(self)
        self.dtype, self.relu = dtype, relu
        self.padding, self.stride, self.dilation = folded.padding, folded.stride, folded.dilation
        self.groups, self.padding_mode = folded.groups, "zeros"
        self.out_channels, inputs, *kernel = folded.weight.shape
        self.in_channels, self.kernel_size = inputs * folded.groups, tuple(kernel)
        weight = folded.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        settings = (list(self.padding), list(self.stride), list(self.dilation), self.groups)
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *settings, None)
        self.offset = None if folded.bias is None else folded.bias.detach().to(dtype)

    def forward(self, maps: Tensor, add: Tensor | None = None, into: Grid | None = None) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride), in the type of the layer.

        Args:
            maps: (B, in, H, W).
            add: added to the result before the ReLU; None: nothing.
            into: see `Layer`.
        """
        maps = maps.to(self.dtype)
        settings = (list(self.padding), list(self.stride), list(self.dilation), self.groups)
        pointwise = torch.ops.mkldnn._convolution_pointwise
        if add is None:
            activation = "relu" if self.relu else "none"
            return pointwise(maps, self.packed, self.offset, *settings, activation, [], "")
        if self.groups > 1:  # oneDNN does not fuse the sum then
            total = pointwise(maps, self.packed, self.offset, *settings, "none", [], "").add_(add)
            return total.relu_() if self.relu else total
        after = "relu" if self.relu else None
        return pointwise.binary(
            maps, add.to(self.dtype), self.packed, self.offset, *settings, "add", 1.0, after, [], None
        )


class PackedPointwise(_Packed, nn.Conv2d):
    """A 1x1 convolution as a product, with its norm folded in, then plus another tensor, then through a ReLU.

    Args:
        folded: the convolution; see `Folded.is_pointwise`.
        dtype: float32 or bfloat16, of the product and its result.
        relu: whether a ReLU follows.
    """

    def __init__(self, folded: Folded, dtype: torch.dtype, relu: bool = False) -> None:
        nn.Module.__init__(self)
        self.dtype, self.relu, self.stride, self.groups = dtype, relu, folded.stride, 1
        self.out_channels, self.in_channels = folded.weight.shape[:2]
        self.kernel_size, self.padding, self.dilation, self.padding_mode = (1, 1), (0, 0), (1, 1), "zeros"
        self.product = PackedLinear(folded.weight.flatten(1), folded.bias, dtype, relu)
        self.sum = PackedLinear(folded.weight.flatten(1), folded.bias, dtype)
        self.sum.packed = self.product.packed

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight (out, in, 1, 1), unpacked at every call: for those who only look."""
        return self.product.weight[:, :, None, None]

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        """The bias (out,)."""
        return self.product.bias

    def forward(self, maps: Tensor, add: Tensor | None = None, into: Grid | None = None) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride), in the type of the layer.

        Args:
            maps: (B, in, H, W).
            add: added to the result before the ReLU; None: nothing.
            into: see `Layer`.
        """
        rows = maps[:, :, :: self.stride[0], :: self.stride[1]].permute(0, 2, 3, 1)
        if add is None:
            result = self.product(rows)
        else:
            result = self.sum(rows, add=add.permute(0, 2, 3, 1))
            result = result.relu_() if self.relu else result
        return result.permute(0, 3, 1, 2)
