"""Deformable attention in ONNX operators, written for the runtimes that execute it.

`querydet::ms_deform_attn_fused` is translated as a whole. What PyTorch's exporter makes of its definition is twice as
many nodes, which costs most of an export's time, and more passes over offsets and samples. Differences to the
definition:

* Scaling to the range of `GridSample` is part of the scaling of references and offsets.
* Points lie before queries, so that sums over points run along rows of memory.
* Locations beyond the reach of a level are clipped rather than replaced. Infinite ones contribute zero all the same;
  NaN stays NaN.

Letters: B images, S tokens, M heads, D channels of a head, Q queries, L levels, P points.
"""

from collections.abc import Sequence
from typing import Any

# The borders of GridSample are at -1 and 1; a level of one pixel reaches to -3 and 3. Beyond this limit all is zero.
_LIMIT = 4.0
_FLOAT = 1  # TensorProto.FLOAT


def operators() -> Any:
    """Return ONNX's operators as functions; imported late, as nothing else needs onnxscript."""
    import onnxscript

    return onnxscript.opset20


def translate_sampling(
    value: Any, spatial_shapes: Sequence[Any], reference_points: Any, sampling_offsets: Any, attention_logits: Any
) -> Any:
    """Translate `querydet::ms_deform_attn_fused`; see `ops.fused` for the shapes.

    Heads, channels, levels and points are fixed; the other dimensions may be symbols.
    """
    op = operators()
    heads, channels = value.shape[2:]
    levels, points = attention_logits.shape[3:]
    sizes = list(zip(spatial_shapes[::2], spatial_shapes[1::2], strict=True))
    planes = _planes(value, sizes, heads, channels)
    grids = _levels(_grid(reference_points, sampling_offsets, sizes, levels * points), levels, axis=1)
    weights = _levels(_weights(attention_logits, levels * points), levels, axis=2)
    total = None
    for plane, grid, weight in zip(planes, grids, weights, strict=True):
        samples = op.GridSample(plane, grid, mode="linear", padding_mode="zeros", align_corners=0)  # (B*M, D, P, Q)
        of_level = op.ReduceSum(op.Mul(samples, weight), _integers([2]), keepdims=0)
        total = of_level if total is None else op.Add(total, of_level)
    return op.Transpose(op.Reshape(total, _integers([-1, heads * channels, 0])), perm=[0, 2, 1])


def _levels(values: Any, levels: int, axis: int) -> Sequence[Any]:
    """Split a dimension of L * P into its levels."""
    return [values] if levels == 1 else operators().Split(values, axis=axis, num_outputs=levels)


def _planes(value: Any, sizes: Sequence[tuple[Any, Any]], heads: int, channels: int) -> list[Any]:
    """Return the levels of a value (B, S, M, D) as images (B*M, D, H, W)."""
    op = operators()
    tokens = op.Reshape(value, _integers([0, 0, heads * channels]))
    start: Any = 0
    planes = []
    for height, width in sizes:
        end = _add(start, _multiply(height, width))
        pixels = op.Slice(tokens, _integers([start]), _integers([end]), _integers([1])) if len(sizes) > 1 else tokens
        planes.append(op.Reshape(op.Transpose(pixels, perm=[0, 2, 1]), _integers([-1, channels, height, width])))
        start = end
    return planes


def _grid(reference_points: Any, sampling_offsets: Any, sizes: Sequence[tuple[Any, Any]], samples: int) -> Any:
    """Return sampling locations (B*M, L*P, Q, 2) in the range -1 to 1."""
    op = operators()
    heads, points = sampling_offsets.shape[2], sampling_offsets.shape[4]
    if reference_points.shape[-1] == 2:
        centers, scale = reference_points, _pixel_scale(sizes)
    else:
        bounds = [_integers([number]) for number in (0, 2, 4, -1)]
        centers = op.Slice(reference_points, bounds[0], bounds[1], bounds[3])
        extents = op.Slice(reference_points, bounds[1], bounds[2], bounds[3])
        scale = op.Unsqueeze(op.Mul(extents, _number(1 / points)), _integers([2, 4]))  # (B, Q, 1, L, 1, 2)
    centers = op.Unsqueeze(op.Sub(op.Mul(centers, _number(2.0)), _number(1.0)), _integers([2, 4]))
    grid = op.Clip(op.Add(op.Mul(sampling_offsets, scale), centers), _number(-_LIMIT), _number(_LIMIT))
    rows = op.Transpose(op.Reshape(grid, _integers([0, 0, heads * samples, 2])), perm=[0, 2, 1, 3])
    return op.Reshape(rows, _integers([-1, samples, 0, 2]))


def _weights(attention_logits: Any, samples: int) -> Any:
    """Return the softmax of logits (B, Q, M, L, P) over levels and points as (B*M, 1, L*P, Q)."""
    op = operators()
    weights = op.Softmax(op.Reshape(attention_logits, _integers([0, 0, attention_logits.shape[2], samples])), axis=-1)
    return op.Reshape(op.Transpose(weights, perm=[0, 2, 3, 1]), _integers([-1, 1, samples, 0]))


def _pixel_scale(sizes: Sequence[tuple[Any, Any]]) -> Any:
    """Return two pixels' width and height of each level, (L, 1, 2), in parts of the level."""
    op = operators()
    numbers = [number for height, width in sizes for number in (width, height)]
    if all(isinstance(number, int) for number in numbers):
        scale = op.Constant(value_floats=[2 / number for number in numbers])
    else:
        scale = op.Div(_number(2.0), op.Cast(_integers(numbers), to=_FLOAT))
    return op.Reshape(scale, _integers([len(sizes), 1, 2]))


def _number(value: float) -> Any:
    return operators().Constant(value_float=value)


def _integers(numbers: Sequence[Any]) -> Any:
    """Return integers, some of which may be computed in the graph, as one tensor."""
    op = operators()
    if all(isinstance(number, int) for number in numbers):
        return op.Constant(value_ints=list(numbers))
    parts = [_integers([n]) if isinstance(n, int) else op.Reshape(n, _integers([1])) for n in numbers]
    return parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)


def _multiply(one: Any, other: Any) -> Any:
    return one * other if isinstance(one, int) and isinstance(other, int) else operators().Mul(*_tensors(one, other))


def _add(one: Any, other: Any) -> Any:
    return one + other if isinstance(one, int) and isinstance(other, int) else operators().Add(*_tensors(one, other))


def _tensors(*numbers: Any) -> list[Any]:
    return [_integers([number]) for number in numbers]
