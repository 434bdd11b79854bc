"""Numbers to 8-bit codes: the operator `querydet::quantize`.

The products of an 8-bit detector read codes, `round(value / scale) + zero_point` within 0 and 255 (affine quantisation,
arXiv 1712.05877, section 2.1). PyTorch computes them in five passes through memory, the CPU kernel
(`ops/csrc/cpu/quantize_cpu.cpp`) in one, with the sum of contents and positions in the same pass.
"""

import torch
from torch import Tensor

from querydet.ops import native  # loads the extension, if there is one

# Equal to the schema in ops/csrc/schema.cpp: the operator is defined here if the extension was not built.
_SCHEMA = "quantize(Tensor values, Tensor? others, float scale, int zero_point) -> Tensor"
MOST = 255  # the largest code


def quantize(values: Tensor, scale: float, zero_point: int, others: Tensor | None = None) -> Tensor:
    """Return the codes of values, uint8, in their memory format.

    Args:
        values: (...), or maps (B, C, H, W); float32 or bfloat16.
        scale: the distance of neighbouring codes.
        zero_point: the code of 0, within 0 and 255.
        others: added to the values before, of their shape and type; None: nothing.

    Raises:
        ValueError: the scale is not positive, or the zero point no code.
    """
    if not scale > 0 or not 0 <= zero_point <= MOST:
        raise ValueError(
            f"quantize needs a positive scale and a zero_point within 0 and {MOST}, found {scale} and {zero_point}"
        )
    if values.dim() != 4 or not values.is_contiguous(memory_format=torch.channels_last):
        return torch.ops.querydet.quantize(values, others, scale, zero_point)
    lines = None if others is None else others.permute(0, 2, 3, 1)
    codes = torch.ops.querydet.quantize(values.permute(0, 2, 3, 1), lines, scale, zero_point)
    return codes.permute(0, 3, 1, 2)


def quantize_reference(values: Tensor, others: Tensor | None, scale: float, zero_point: int) -> Tensor:
    """Compute the operator with PyTorch's own operators; NaN becomes 0. See `quantize`."""
    numbers = values.float() if others is None else values.float() + others.float()
    codes = (numbers * (1 / scale)).round_().add_(zero_point)
    return codes.nan_to_num_(0).clamp_(0, MOST).to(torch.uint8).contiguous()


def _fake(values: Tensor, others: Tensor | None, scale: float, zero_point: int) -> Tensor:
    return torch.empty(values.shape, dtype=torch.uint8, device=values.device)


_LIBRARY = native.define_operator(_SCHEMA, quantize_reference, _fake)
