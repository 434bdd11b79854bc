"""Multi-scale deformable attention written with PyTorch's own operators.

Source: Deformable DETR (arXiv 2010.04159), section 4.1, equation 3, with the sum over the batch, the heads and the
queries written out as tensor dimensions:

    out[b, q, m] = sum over l, p of  attention_weights[b, q, m, l, p] * bilinear(value[b, level l, m], location)

where `location` is `sampling_locations[b, q, m, l, p]`. A location (x, y) in [0, 1] is the pixel coordinate
(x * W - 0.5, y * H - 0.5): pixel centres are integers, and everything outside of a level is zero.

Difference to the paper: a location that is NaN, infinite or far outside is *defined* to contribute zero and to get
zero gradient (`grid_sample` returns NaN), and levels without pixels contribute nothing.

The native kernels are tested against this definition, which also runs where they were not built.

Letters: B images, S tokens (the pixels of all levels), M heads, D channels of a head, Q queries, L levels, P points.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# The borders of grid_sample are at -1 and 1, and a bilinear footprint ends at most 1 beyond (a level one pixel wide).
# Everything beyond this limit is therefore outside, for every level size.
_GRID_LIMIT = 4.0


def ms_deform_attn_reference(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Sample every level at the given locations and sum the samples with the attention weights.

    Arguments are not checked here; `ops.multi_scale_deformable_attention` does so.

    Args:
        value: (B, S, M, D), the pixels of all levels, one level after the other, row by row.
        spatial_shapes: the (H, W) of each level; their products sum to S.
        sampling_locations: (B, Q, M, L, P, 2) as (x, y), in [0, 1] inside of the level.
        attention_weights: (B, Q, M, L, P).

    Returns:
        (B, Q, M * D) in the dtype of `value`; coordinates and sums are float32 (float64 for a float64 value).
    """
    batch, _, heads, channels = value.shape
    planes, locations, weights = _by_plane(value, sampling_locations, attention_weights)
    output = planes.new_zeros(batch * heads, channels, sampling_locations.shape[1])
    for level, pixels in _nonempty_levels(spatial_shapes):
        samples = _sample_level(planes[..., pixels].unflatten(-1, spatial_shapes[level]), locations[level])
        output = output + (samples * weights[level].unsqueeze(1)).sum(-1)
    return output.unflatten(0, (batch, heads)).permute(0, 3, 1, 2).flatten(2).contiguous().to(value.dtype)


def _by_plane(value: Tensor, sampling_locations: Tensor, attention_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move image and head to the front: (B*M, D, S), (L, B*M, Q, P, 2) and (L, B*M, Q, P), at least float32."""
    dtype = torch.promote_types(value.dtype, torch.float32)
    planes = value.to(dtype).permute(0, 2, 3, 1).flatten(0, 1)
    locations = sampling_locations.to(dtype).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)
    weights = attention_weights.to(dtype).permute(3, 0, 2, 1, 4).flatten(1, 2)
    return planes, locations, weights


def _nonempty_levels(spatial_shapes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, slice]]:
    """Yield the index of each level that has pixels, and its slice of S."""
    start = 0
    for level, (height, width) in enumerate(spatial_shapes):
        stop = start + height * width
        if stop > start:
            yield level, slice(start, stop)
        start = stop


def _grid(locations: Tensor) -> tuple[Tensor, Tensor]:
    """Map locations to the range -1 to 1 of `grid_sample`, and mark coordinates that are finite and near the level."""
    grid = 2 * locations - 1
    usable = grid.abs() < _GRID_LIMIT  # NaN compares as false
    # `where` also stops the gradient of what it replaces.
    return torch.where(usable, grid, -_GRID_LIMIT), usable


def _sample_level(plane: Tensor, locations: Tensor) -> Tensor:
    """Sample `plane` (N, D, H, W) bilinearly at `locations` (N, Q, P, 2) in [0, 1]; returns (N, D, Q, P)."""
    return F.grid_sample(plane, _grid(locations)[0], mode="bilinear", padding_mode="zeros", align_corners=False)


def ms_deform_attn_reference_backward(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute gradients of `ms_deform_attn_reference` for `value`, `sampling_locations` and `attention_weights`.

    Args:
        value: (B, S, M, D).
        spatial_shapes: the (H, W) of each level.
        sampling_locations: (B, Q, M, L, P, 2).
        attention_weights: (B, Q, M, L, P).
        grad_output: (B, Q, M * D), the gradient for the output.

    Returns:
        The three gradients, each with the shape and dtype of its tensor.
    """
    batch, _, heads, _ = value.shape
    planes, locations, weights = _by_plane(value, sampling_locations, attention_weights)
    grad = grad_output.to(planes.dtype).unflatten(-1, (heads, -1)).permute(0, 2, 3, 1).flatten(0, 1)  # (B*M, D, Q)
    grad_planes, grad_locations, grad_weights = (torch.zeros_like(tensor) for tensor in (planes, locations, weights))
    for level, pixels in _nonempty_levels(spatial_shapes):
        plane = planes[..., pixels].unflatten(-1, spatial_shapes[level])
        samples = _sample_level(plane, locations[level])
        grad_weights[level] = (samples * grad.unsqueeze(-1)).sum(1)
        grid, usable = _grid(locations[level])
        # Written by hand: autograd does not record inside of an operator's kernel.
        grad_plane, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
            grad.unsqueeze(-1) * weights[level].unsqueeze(1), plane, grid, 0, 0, False, [True, True]
        )
        grad_planes[..., pixels] = grad_plane.flatten(2)
        grad_locations[level] = 2 * grad_grid * usable
    return (
        grad_planes.unflatten(0, (batch, heads)).permute(0, 3, 1, 2).contiguous().to(value.dtype),
        grad_locations.unflatten(1, (batch, heads)).permute(1, 3, 2, 0, 4, 5).contiguous().to(sampling_locations.dtype),
        grad_weights.unflatten(1, (batch, heads)).permute(1, 3, 2, 0, 4).contiguous().to(attention_weights.dtype),
    )


def locate_samples(
    reference_points: Tensor, sampling_offsets: Tensor, spatial_shapes: Sequence[tuple[int, int]]
) -> Tensor:
    """Compute the sampling locations (Deformable DETR, arXiv 2010.04159, section 4.1 and appendix A.3).

    Args:
        reference_points: (B, Q, L, 2) points (x, y) or (B, Q, L, 4) boxes (cx, cy, w, h), normalised.
        sampling_offsets: (B, Q, M, L, P, 2) as (x, y): in pixels of the level for points; for boxes an offset of P
            reaches the border of the box.
        spatial_shapes: the (H, W) of each level.

    Returns:
        (B, Q, M, L, P, 2) in [0, 1] inside of the level, at least float32.
    """
    offsets = sampling_offsets.to(torch.promote_types(sampling_offsets.dtype, torch.float32))
    reference = reference_points.to(offsets.dtype)[:, :, None, :, None, :]  # (B, Q, 1, L, 1, 2 or 4)
    if reference_points.shape[-1] == 2:
        return reference + offsets / _level_sizes(spatial_shapes, offsets)
    return reference[..., :2] + offsets / sampling_offsets.shape[4] * reference[..., 2:] * 0.5


def _level_sizes(spatial_shapes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Stack level sizes as (L, 1, 2), (W, H); a level without pixels gets 1, so that its coordinates stay finite."""
    # one by one: the sizes of an exported model are symbols, which torch.tensor would turn into constants
    sizes = [like.new_full((), size) for height, width in spatial_shapes for size in (width, height)]
    return torch.stack(sizes).clamp(min=1).view(-1, 1, 2)


def normalize_logits(attention_logits: Tensor) -> Tensor:
    """Apply the softmax to (B, Q, M, L, P) over the points of all levels together, in at least float32."""
    logits = attention_logits.to(torch.promote_types(attention_logits.dtype, torch.float32))
    return logits.flatten(3).softmax(-1).view(logits.shape)


def ms_deform_attn_fused_reference(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_logits: Tensor,
) -> Tensor:
    """Compute `ms_deform_attn_reference` with locations and weights derived from offsets and logits.

    Args:
        value: (B, S, M, D).
        spatial_shapes: the (H, W) of each level.
        reference_points: (B, Q, L, 2) or (B, Q, L, 4), see `locate_samples`.
        sampling_offsets: (B, Q, M, L, P, 2).
        attention_logits: (B, Q, M, L, P).

    Returns:
        (B, Q, M * D) in the dtype of `value`.
    """
    locations = locate_samples(reference_points, sampling_offsets, spatial_shapes)
    return ms_deform_attn_reference(value, spatial_shapes, locations, normalize_logits(attention_logits))


def ms_deform_attn_fused_reference_backward(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_logits: Tensor,
    grad_output: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute gradients of `ms_deform_attn_fused_reference` for its four tensors.

    Args:
        value: (B, S, M, D).
        spatial_shapes: the (H, W) of each level.
        reference_points: (B, Q, L, 2) or (B, Q, L, 4).
        sampling_offsets: (B, Q, M, L, P, 2).
        attention_logits: (B, Q, M, L, P).
        grad_output: (B, Q, M * D), the gradient for the output.

    Returns:
        The four gradients, each with the shape and dtype of its tensor.
    """
    locations = locate_samples(reference_points, sampling_offsets, spatial_shapes)
    weights = normalize_logits(attention_logits)
    grad_value, grad_locations, grad_weights = ms_deform_attn_reference_backward(
        value, spatial_shapes, locations, weights, grad_output
    )
    # The Jacobian of the softmax: weights * (gradient - its mean under the weights).
    mean = (weights * grad_weights).sum((3, 4), keepdim=True)
    grad_logits = weights * (grad_weights - mean)
    grad_centers = grad_locations.sum((2, 4))  # (B, Q, L, 2)
    if reference_points.shape[-1] == 2:
        grad_offsets = grad_locations / _level_sizes(spatial_shapes, locations)
        grad_reference = grad_centers
    else:
        extents = reference_points.to(locations.dtype)[:, :, None, :, None, 2:]
        offsets = sampling_offsets.to(locations.dtype)
        part = 0.5 / sampling_offsets.shape[4]
        # Locations outside have no gradient, even where a reference or an offset is NaN.
        grad_offsets = torch.where(grad_locations == 0, 0.0, grad_locations * extents * part)
        grad_extents = torch.where(grad_locations == 0, 0.0, grad_locations * offsets * part).sum((2, 4))
        grad_reference = torch.cat([grad_centers, grad_extents], dim=-1)
    return (
        grad_value,
        grad_reference.to(reference_points.dtype),
        grad_offsets.to(sampling_offsets.dtype),
        grad_logits.to(attention_logits.dtype),
    )
