"""Frozen batch norms as a part of the convolutions in front of them.

A frozen norm multiplies every channel by a constant and adds another one. Detectron2 does so after the convolution, in
one or two passes through its map in the forward pass and one in the backward pass. Here the constants are multiplied
into the weights, `norm(conv(x)) = conv(x, weight * scale) + shift`, at every call: the weights stay trainable, and
names and values in checkpoints are the same.
"""

from typing import TypeVar

from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

Network = TypeVar("Network", bound=nn.Module)


class FoldedConv2d(Conv2d):
    """Detectron2's convolution, in which a frozen norm costs no pass through the map.

    With any other norm, as with none, it is Detectron2's.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H', W')."""
        if not isinstance(self.norm, FrozenBatchNorm2d):
            return super().forward(x)
        scale, shift = scale_and_shift(self.norm)
        bias = shift if self.bias is None else self.bias * scale + shift
        weight = self.weight * scale.to(self.weight.dtype)[:, None, None, None]
        result = F.conv2d(x, weight, bias.to(weight.dtype), self.stride, self.padding, self.dilation, self.groups)
        return result if self.activation is None else self.activation(result)


def scale_and_shift(norm: FrozenBatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return what a frozen norm of C channels multiplies by, and what it adds then: (C), (C)."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def fold_frozen_norms(network: Network) -> Network:
    """Let Detectron2's convolutions of a network, in place, apply their frozen norms as `FoldedConv2d` does.

    The modules stay the same objects with the same parameters and buffers; a module of a class that is derived from
    Detectron2's keeps its own way.

    Returns:
        The network.
    """
    for module in network.modules():
        if type(module) is Conv2d and isinstance(module.norm, FrozenBatchNorm2d):
            module.__class__ = FoldedConv2d
    return network
