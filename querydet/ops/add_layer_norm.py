"""Layer normalisation of a sum in one pass, for inference: the operator `querydet::add_layer_norm`.

Source: Ba et al. (arXiv 1607.06450), section 3.1, as a transformer applies it after every part: to the residual sum. On
a CPU the two steps are limited by memory, and the sum between them need not be written; 16-bit sums are not rounded
either. The definition runs where the extension has no kernel. There is no backward.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from querydet.ops import native  # loads the extension, if there is one

# Equal to the schema in ops/csrc/schema.cpp: the operator is defined here if the extension was not built.
_SCHEMA = "add_layer_norm(Tensor x, Tensor update, Tensor weight, Tensor bias, float eps) -> Tensor"


def add_layer_norm(x: Tensor, update: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise `x + update` over the last dimension; no argument gets a gradient.

    Args:
        x: (..., C) float32, bfloat16, float16 or float64.
        update: as `x`.
        weight: (C,) in the dtype of `x` or float32.
        bias: as `weight`.
        eps: added to the variance.

    Returns:
        (..., C) in the dtype of `x`; sums, mean and variance are float32 (float64 for float64).

    Raises:
        ValueError: shapes or dtypes do not fit together.
    """
    if x.dim() == 0 or update.shape != x.shape or update.dtype != x.dtype:
        raise ValueError(
            f"update must have the shape and dtype of x, {tuple(x.shape)} {x.dtype}, with at least one dimension, but "
            f"is {tuple(update.shape)} {update.dtype}"
        )
    if weight.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError(
            f"weight and bias must be {tuple(x.shape[-1:])}, but are {tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    return torch.ops.querydet.add_layer_norm(x, update, weight, bias, eps)


def add_layer_norm_reference(x: Tensor, update: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Compute the operator with PyTorch's own operators; see `add_layer_norm`."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    total = x.to(dtype) + update.to(dtype)
    return F.layer_norm(total, x.shape[-1:], weight.to(dtype), bias.to(dtype), eps).to(x.dtype)


def _fake(x: Tensor, update: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return x.new_empty(x.shape)


_LIBRARY = native.define_operator(_SCHEMA, add_layer_norm_reference, _fake)
