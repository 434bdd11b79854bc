"""A convolution and the frozen norm behind it as one convolution.

A norm with fixed statistics multiplies a channel by a number and adds another, which the weights of the convolution
before it take over.
"""

from dataclasses import dataclass

import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import Tensor, nn

from querydet.modeling.backbones.folding import scale_and_shift

LIVE_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)  # their statistics are fixed in evaluation mode


@dataclass(frozen=True, slots=True)
class Folded:
    """The weights and settings of a convolution."""

    weight: Tensor  # (out, in / groups, kernel, kernel)
    bias: Tensor | None  # (out,)
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def is_pointwise(self) -> bool:
        """True where each pixel of the result is a product of one pixel's channels."""
        return self.weight.shape[2:] == (1, 1) and self.groups == 1 and not any(self.padding)


def fold(conv: nn.Conv2d, norm: nn.Module | None = None) -> Folded | None:
    """Fold a norm with fixed statistics into the convolution before it.

    Args:
        conv: the convolution.
        norm: the norm; None: there is none.

    Returns:
        None where the norm has no fixed statistics, or the padding is none of numbers (zeros all around).
    """
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        return None
    weight, bias = conv.weight, conv.bias
    if norm is not None:
        affine = affine_of(norm)
        if affine is None:
            return None
        scale, shift = affine
        weight = weight * scale[:, None, None, None]
        bias = shift if bias is None else bias * scale + shift
    return Folded(weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def affine_of(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return what a norm multiplies each channel by and what it adds, (channels,); None where that is not fixed."""
    if isinstance(norm, FrozenBatchNorm2d):
        return scale_and_shift(norm)
    if not isinstance(norm, LIVE_NORMS) or norm.running_mean is None or norm.running_var is None:
        return None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    return scale, (0 if norm.bias is None else norm.bias) - norm.running_mean * scale
