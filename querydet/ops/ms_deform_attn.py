"""Multi-scale deformable attention: registration of the operator, and its public function.

Source: Deformable DETR (arXiv 2010.04159), section 4.1. The operator is defined in `ops.reference`; the repository's
`ops/` holds the native kernels.

`torch.ops.querydet.ms_deform_attn` and `torch.ops.querydet.ms_deform_attn_backward` always exist, with the same
schema. With the compiled extension `querydet._C` they run its kernels; on a device for which the extension has no
kernel, or without the extension, they run the PyTorch definition and warn once.

Letters: B images, S tokens (the pixels of all levels), M heads, D channels of a head, Q queries, L levels, P points.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from querydet.ops.reference import ms_deform_attn_reference, ms_deform_attn_reference_backward
from querydet.ops.sampling_operator import LevelShapes, SamplingOperator, as_level_shapes

_VALUE_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def multi_scale_deformable_attention(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]] | Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Sum bilinear samples of several feature levels, one set of points per query and head.

    `sampling_locations` and `attention_weights` may stay float32 (and should) while `value` is 16 bit;
    coordinates and sums are float32 in any case (float64 for a float64 `value`). Locations outside of a level, NaN
    and infinite ones contribute zero and get zero gradient.

    Args:
        value: (B, S, M, D), float32, float64, bfloat16 or float16: the pixels of all levels, one level after the
            other, row by row.
        spatial_shapes: the (H, W) of each level as Python integers, or an int64 tensor (L, 2). A tensor on a GPU
            costs a device synchronisation; prefer integers.
        sampling_locations: (B, Q, M, L, P, 2) as (x, y), normalised: (0, 0) is the upper left corner of the upper
            left pixel of the level, (1, 1) the lower right corner of its lower right pixel.
        attention_weights: (B, Q, M, L, P), any real numbers; not normalised here.

    Returns:
        (B, Q, M * D) in the dtype of `value`.

    Raises:
        ValueError: shapes, dtypes or devices do not fit together; both values are named.
    """
    shapes = as_level_shapes(spatial_shapes)
    check_arguments(value, shapes, sampling_locations, attention_weights)
    flat = [size for shape in shapes for size in shape]
    return torch.ops.querydet.ms_deform_attn(value, flat, sampling_locations, attention_weights)


def check_arguments(value: Tensor, shapes: LevelShapes, sampling_locations: Tensor, attention_weights: Tensor) -> None:
    """Raise ValueError, naming both sides, if the arguments of the operator do not fit together."""
    check_value(value, shapes)
    batch, _, heads, _ = value.shape
    if sampling_locations.dim() != 6 or sampling_locations.shape[5] != 2:
        raise ValueError(
            f"sampling_locations must be (B, Q, M, L, P, 2), but got shape {tuple(sampling_locations.shape)}"
        )
    dimensions = (sampling_locations.shape[0], sampling_locations.shape[2], sampling_locations.shape[3])
    if dimensions != (batch, heads, len(shapes)):
        raise ValueError(
            f"sampling_locations of shape {tuple(sampling_locations.shape)} has (B, M, L) = {dimensions}, but value of "
            f"shape {tuple(value.shape)} and {len(shapes)} spatial_shapes need {(batch, heads, len(shapes))}"
        )
    if attention_weights.shape != sampling_locations.shape[:5]:
        raise ValueError(
            f"attention_weights must have the shape {tuple(sampling_locations.shape[:5])} of sampling_locations "
            f"without its last dimension, but got {tuple(attention_weights.shape)}"
        )
    check_companions(value, sampling_locations=sampling_locations, attention_weights=attention_weights)


def check_value(value: Tensor, shapes: LevelShapes) -> None:
    """Raise ValueError unless `value` is (B, S, M, D) with S the number of pixels of all levels."""
    if value.dim() != 4:
        raise ValueError(f"value must be (B, S, M, D), but got shape {tuple(value.shape)}")
    expected = sum(height * width for height, width in shapes)
    if value.shape[1] != expected:
        raise ValueError(
            f"value has {value.shape[1]} pixels (shape {tuple(value.shape)}), but spatial_shapes {shapes} sum to "
            f"{expected}"
        )


def check_companions(value: Tensor, **tensors: Tensor) -> None:
    """Raise ValueError, naming the tensor, unless dtypes and devices of `tensors` go with those of `value`."""
    if value.dtype not in _VALUE_DTYPES:
        raise ValueError(f"value must be one of {_VALUE_DTYPES}, but got {value.dtype}")
    allowed = (value.dtype, torch.promote_types(value.dtype, torch.float32))
    for name, tensor in tensors.items():
        if tensor.dtype not in allowed:
            raise ValueError(f"{name} must be one of {allowed} for a value of {value.dtype}, but got {tensor.dtype}")
        if tensor.device != value.device:
            raise ValueError(f"{name} is on {tensor.device}, but value is on {value.device}")


OPERATOR = SamplingOperator(
    "ms_deform_attn(Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations, Tensor attention_weights)"
    " -> Tensor",
    "ms_deform_attn_backward(Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations,"
    " Tensor attention_weights, Tensor grad_output, bool deterministic, bool[3] output_mask)"
    " -> (Tensor, Tensor, Tensor)",
    check_arguments,
    ms_deform_attn_reference,
    ms_deform_attn_reference_backward,
)
_LIBRARY = OPERATOR.register()
