"""Deformable attention directly from predicted offsets and logits, without sampling locations and weights in memory.

Source: Deformable DETR (arXiv 2010.04159), section 4.1 and appendix A.3 (boxes as references); DINO (arXiv 2203.03605)
uses it unchanged. Difference to the released code: reference points, offsets and logits enter the operator, so that
neither (B, Q, M, L, P, 2) locations nor weights are written to memory or kept for the backward pass.

`torch.ops.querydet.ms_deform_attn_fused` and its backward always exist, as those of `ops.ms_deform_attn` do.

Letters: B images, S tokens (the pixels of all levels), M heads, D channels of a head, Q queries, L levels, P points.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from querydet.ops.ms_deform_attn import check_companions, check_value, multi_scale_deformable_attention
from querydet.ops.native import operators_are_fused
from querydet.ops.reference import (
    locate_samples,
    ms_deform_attn_fused_reference,
    ms_deform_attn_fused_reference_backward,
    normalize_logits,
)
from querydet.ops.sampling_operator import LevelShapes, SamplingOperator, as_level_shapes


def fused_deformable_attention(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]] | Tensor,
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_logits: Tensor,
) -> Tensor:
    """Sample around reference points and sum with softmax weights over all levels and points.

    Equal to `multi_scale_deformable_attention` at the locations `reference + offset / (W, H)` for points, and
    `center + offset / P * size / 2` for boxes, with the softmax of the logits over L and P as weights. All tensors but
    `value` may stay float32 while `value` is 16 bit; coordinates, the softmax and sums are float32 in any case (float64
    for a float64 `value`).

    Args:
        value: (B, S, M, D), float32, float64, bfloat16 or float16: the pixels of all levels, one level after the
            other, row by row.
        spatial_shapes: the (H, W) of each level as Python integers, or an int64 tensor (L, 2). A tensor on a GPU
            costs a device synchronisation; prefer integers.
        reference_points: (B, Q, L, 2) points (x, y) or (B, Q, L, 4) boxes (cx, cy, w, h), normalised by the size of
            each level.
        sampling_offsets: (B, Q, M, L, P, 2) as (x, y): in pixels of the level for points; for boxes an offset of P
            reaches the border of the box.
        attention_logits: (B, Q, M, L, P), normalised here.

    Returns:
        (B, Q, M * D) in the dtype of `value`.

    Raises:
        ValueError: shapes, dtypes or devices do not fit together; both values are named.
    """
    shapes = as_level_shapes(spatial_shapes)
    check_fused_arguments(value, shapes, reference_points, sampling_offsets, attention_logits)
    if not operators_are_fused():
        locations = locate_samples(reference_points, sampling_offsets, shapes)
        return multi_scale_deformable_attention(value, shapes, locations, normalize_logits(attention_logits))
    flat = [size for shape in shapes for size in shape]
    return torch.ops.querydet.ms_deform_attn_fused(value, flat, reference_points, sampling_offsets, attention_logits)


def check_fused_arguments(
    value: Tensor, shapes: LevelShapes, reference_points: Tensor, sampling_offsets: Tensor, attention_logits: Tensor
) -> None:
    """Raise ValueError, naming both sides, if the arguments of the operator do not fit together."""
    check_value(value, shapes)
    if sampling_offsets.dim() != 6 or sampling_offsets.shape[5] != 2:
        raise ValueError(f"sampling_offsets must be (B, Q, M, L, P, 2), but got shape {tuple(sampling_offsets.shape)}")
    batch, queries, heads, levels = sampling_offsets.shape[:4]
    if (batch, heads, levels) != (value.shape[0], value.shape[2], len(shapes)):
        raise ValueError(
            f"sampling_offsets of shape {tuple(sampling_offsets.shape)} has (B, M, L) = {(batch, heads, levels)}, but "
            f"value of shape {tuple(value.shape)} and {len(shapes)} spatial_shapes need "
            f"{(value.shape[0], value.shape[2], len(shapes))}"
        )
    if attention_logits.shape != sampling_offsets.shape[:5]:
        raise ValueError(
            f"attention_logits must have the shape {tuple(sampling_offsets.shape[:5])} of sampling_offsets without "
            f"its last dimension, but got {tuple(attention_logits.shape)}"
        )
    expected = (batch, queries, levels)
    if reference_points.shape[:-1] != expected or reference_points.shape[-1] not in (2, 4):
        raise ValueError(
            f"reference_points must be {expected} + (2,) or (4,), but got shape {tuple(reference_points.shape)}"
        )
    check_companions(
        value,
        reference_points=reference_points,
        sampling_offsets=sampling_offsets,
        attention_logits=attention_logits,
    )


OPERATOR = SamplingOperator(
    "ms_deform_attn_fused(Tensor value, SymInt[] spatial_shapes, Tensor reference_points, Tensor sampling_offsets,"
    " Tensor attention_logits) -> Tensor",
    "ms_deform_attn_fused_backward(Tensor value, SymInt[] spatial_shapes, Tensor reference_points,"
    " Tensor sampling_offsets, Tensor attention_logits, Tensor grad_output, bool deterministic, bool[4] output_mask)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    check_fused_arguments,
    ms_deform_attn_fused_reference,
    ms_deform_attn_fused_reference_backward,
)
_LIBRARY = OPERATOR.register()
