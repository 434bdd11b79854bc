"""The multi-scale deformable attention operator: registration and the public function.

Source: Deformable DETR (arXiv 2010.04159), section 4.1. What the operator computes is written down in
``ms_deform_attn_reference.py``; ``ops/`` holds the native kernels.

``torch.ops.querydet.ms_deform_attn`` and ``torch.ops.querydet.ms_deform_attn_backward`` always exist, with the same
schema. With the compiled extension ``querydet._C`` they run its kernels; on a device for which the extension has no
kernel, or without the extension, they run the PyTorch definition and say so once.

Letters: B images, S pixels of all levels, M heads, D channels of a head, Q queries, L levels, P points.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from querydet.layers.ms_deform_attn_reference import ms_deform_attn_reference, ms_deform_attn_reference_backward
from querydet.layers.native import MISSING_EXTENSION, chosen_operators, say_definition_is_used

FORWARD = "querydet::ms_deform_attn"
BACKWARD = "querydet::ms_deform_attn_backward"
# The same words stand in ops/csrc/schema.cpp: whoever of the two comes first defines the operator.
_FORWARD_SCHEMA = (
    "ms_deform_attn(Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations, Tensor attention_weights)"
    " -> Tensor"
)
_BACKWARD_SCHEMA = (
    "ms_deform_attn_backward(Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations,"
    " Tensor attention_weights, Tensor grad_output, bool deterministic, bool[3] output_mask)"
    " -> (Tensor, Tensor, Tensor)"
)
_VALUE_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

LevelShapes = tuple[tuple[int, int], ...]


def multi_scale_deformable_attention(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]] | Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Sums bilinear samples of several feature levels, one set of points per query and head.

    ``sampling_locations`` and ``attention_weights`` may stay float32 (and should) while ``value`` is 16 bit;
    coordinates and sums are float32 in any case (float64 for a float64 ``value``). Locations outside of a level, NaN
    and infinite ones contribute zero and get zero gradient.

    Args:
        value: (B, S, M, D), float32, float64, bfloat16 or float16: the pixels of all levels, one level after the
            other, row by row.
        spatial_shapes: the (H, W) of each level as Python integers, or an int64 tensor (L, 2). A tensor on a GPU
            costs a device synchronisation; prefer integers.
        sampling_locations: (B, Q, M, L, P, 2) as (x, y), normalised: (0, 0) is the upper left corner of the upper
            left pixel of the level, (1, 1) the lower right corner of its lower right pixel.
        attention_weights: (B, Q, M, L, P), any real numbers; they are not normalised here.

    Returns:
        (B, Q, M * D) in the dtype of ``value``.

    Raises:
        ValueError: shapes, dtypes or devices do not fit together; both values are named.
    """
    shapes = as_level_shapes(spatial_shapes)
    check_arguments(value, shapes, sampling_locations, attention_weights)
    if chosen_operators() == "definition":
        return ms_deform_attn_reference(value, shapes, sampling_locations, attention_weights)
    flat = [size for shape in shapes for size in shape]
    return torch.ops.querydet.ms_deform_attn(value, flat, sampling_locations, attention_weights)


def as_level_shapes(spatial_shapes: Sequence[tuple[int, int]] | Tensor) -> LevelShapes:
    """Level sizes as a tuple of (H, W) pairs of host integers.

    Args:
        spatial_shapes: a sequence of L pairs (H, W), or an integer tensor (L, 2).

    Raises:
        ValueError: the sizes are not L pairs of integers that are zero or greater.
    """
    if isinstance(spatial_shapes, Tensor):
        if spatial_shapes.dim() != 2 or spatial_shapes.shape[1] != 2 or spatial_shapes.dtype != torch.int64:
            raise ValueError(
                "spatial_shapes as a tensor must be int64 of shape (L, 2), one (H, W) per level, but got "
                f"{spatial_shapes.dtype} of shape {tuple(spatial_shapes.shape)}"
            )
        spatial_shapes = spatial_shapes.tolist()
    shapes = tuple(tuple(shape) for shape in spatial_shapes)
    for shape in shapes:
        if len(shape) != 2 or not all(isinstance(size, (int, torch.SymInt)) and size >= 0 for size in shape):
            raise ValueError(f"spatial_shapes must be (H, W) pairs of integers >= 0, but got {shape} among {shapes}")
    return shapes


def check_arguments(value: Tensor, shapes: LevelShapes, sampling_locations: Tensor, attention_weights: Tensor) -> None:
    """Raises ValueError, naming both sides, if the arguments of the operator do not fit together."""
    check_value(value, shapes)
    batch, _, heads, _ = value.shape
    if sampling_locations.dim() != 6 or sampling_locations.shape[5] != 2:
        raise ValueError(
            f"sampling_locations must be (B, Q, M, L, P, 2), but got shape {tuple(sampling_locations.shape)}"
        )
    found = (sampling_locations.shape[0], sampling_locations.shape[2], sampling_locations.shape[3])
    if found != (batch, heads, len(shapes)):
        raise ValueError(
            f"sampling_locations of shape {tuple(sampling_locations.shape)} has (B, M, L) = {found}, but value of "
            f"shape {tuple(value.shape)} and {len(shapes)} spatial_shapes need {(batch, heads, len(shapes))}"
        )
    if attention_weights.shape != sampling_locations.shape[:5]:
        raise ValueError(
            f"attention_weights must have the shape {tuple(sampling_locations.shape[:5])} of sampling_locations "
            f"without its last dimension, but got {tuple(attention_weights.shape)}"
        )
    check_companions(value, sampling_locations=sampling_locations, attention_weights=attention_weights)


def check_value(value: Tensor, shapes: LevelShapes) -> None:
    """Raises ValueError unless ``value`` is (B, S, M, D) with the S pixels of all levels."""
    if value.dim() != 4:
        raise ValueError(f"value must be (B, S, M, D), but got shape {tuple(value.shape)}")
    expected = sum(height * width for height, width in shapes)
    if value.shape[1] != expected:
        raise ValueError(
            f"value has {value.shape[1]} pixels (shape {tuple(value.shape)}), but spatial_shapes {shapes} sum to "
            f"{expected}"
        )


def check_companions(value: Tensor, **tensors: Tensor) -> None:
    """Raises ValueError, naming the tensor, unless dtypes and devices of ``tensors`` go with those of ``value``."""
    if value.dtype not in _VALUE_DTYPES:
        raise ValueError(f"value must be one of {_VALUE_DTYPES}, but got {value.dtype}")
    allowed = (value.dtype, torch.promote_types(value.dtype, torch.float32))
    for name, tensor in tensors.items():
        if tensor.dtype not in allowed:
            raise ValueError(f"{name} must be one of {allowed} for a value of {value.dtype}, but got {tensor.dtype}")
        if tensor.device != value.device:
            raise ValueError(f"{name} is on {tensor.device}, but value is on {value.device}")


def level_pairs(flat: Sequence[int]) -> LevelShapes:
    """The (H, W) of each level from H, W of every level in a row, as operators take them.

    Raises:
        ValueError: the number of sizes is odd, or one is not an integer that is zero or greater.
    """
    if len(flat) % 2:
        raise ValueError(f"spatial_shapes must hold H and W of every level, but got {len(flat)} numbers: {list(flat)}")
    return as_level_shapes(list(zip(flat[0::2], flat[1::2], strict=True)))


def _forward_definition(
    value: Tensor, spatial_shapes: Sequence[int], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    shapes = level_pairs(spatial_shapes)
    check_arguments(value, shapes, sampling_locations, attention_weights)
    say_definition_is_used(value.device.type)
    return ms_deform_attn_reference(value, shapes, sampling_locations, attention_weights)


def _backward_definition(
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    deterministic: bool,
    output_mask: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    shapes = level_pairs(spatial_shapes)
    check_arguments(value, shapes, sampling_locations, attention_weights)
    expected = (value.shape[0], sampling_locations.shape[1], value.shape[2] * value.shape[3])
    if grad_output.shape != expected:
        raise ValueError(f"grad_output must be {expected}, but got shape {tuple(grad_output.shape)}")
    say_definition_is_used(value.device.type)
    grads = ms_deform_attn_reference_backward(value, shapes, sampling_locations, attention_weights, grad_output)
    first, second, third = (
        grad if wanted else grad.new_empty(0) for grad, wanted in zip(grads, output_mask, strict=True)
    )
    return first, second, third


def _forward_fake(
    value: Tensor, spatial_shapes: Sequence[int], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    check_arguments(value, level_pairs(spatial_shapes), sampling_locations, attention_weights)
    batch, _, heads, channels = value.shape
    return value.new_empty(batch, sampling_locations.shape[1], heads * channels)


def _backward_fake(
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    deterministic: bool,
    output_mask: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    first, second, third = (
        tensor.new_empty(tensor.shape if wanted else (0,))
        for tensor, wanted in zip((value, sampling_locations, attention_weights), output_mask, strict=True)
    )
    return first, second, third


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, spatial_shapes, sampling_locations, attention_weights = inputs
    ctx.save_for_backward(value, sampling_locations, attention_weights)
    ctx.spatial_shapes = spatial_shapes


def _differentiate(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    value, sampling_locations, attention_weights = ctx.saved_tensors
    mask = [ctx.needs_input_grad[index] for index in (0, 2, 3)]
    grads = torch.ops.querydet.ms_deform_attn_backward(
        value,
        ctx.spatial_shapes,
        sampling_locations,
        attention_weights,
        grad_output,
        torch.are_deterministic_algorithms_enabled(),
        mask,
    )
    first, second, third = (grad if wanted else None for grad, wanted in zip(grads, mask, strict=True))
    return first, None, second, third


def _refuse_second_derivative(ctx: Any, *grads: Tensor) -> None:
    raise RuntimeError(
        "second derivatives of querydet::ms_deform_attn are not implemented: its backward is not differentiable. "
        "Call ms_deform_attn_reference, the PyTorch definition, instead."
    )


def _register() -> torch.library.Library:
    library = torch.library.Library("querydet", "FRAGMENT")
    if MISSING_EXTENSION:
        library.define(_FORWARD_SCHEMA)
        library.define(_BACKWARD_SCHEMA)
    # Used for every device without a kernel of its own, which the extension registers.
    library.impl("ms_deform_attn", _forward_definition, "CompositeExplicitAutograd")
    library.impl("ms_deform_attn_backward", _backward_definition, "CompositeExplicitAutograd")
    torch.library.register_fake(FORWARD, _forward_fake, lib=library)
    torch.library.register_fake(BACKWARD, _backward_fake, lib=library)
    torch.library.register_autograd(FORWARD, _differentiate, setup_context=_save_inputs, lib=library)
    torch.library.register_autograd(BACKWARD, _refuse_second_derivative, lib=library)
    return library


_LIBRARY = _register()
