"""Multi-scale deformable attention as nested loops over one number at a time, straight from the definition.

Deformable DETR (arXiv 2010.04159), section 4.1, equation 3: bilinear interpolation with pixel centres at integers, zero
outside. Shares no code with querydet. The gradients are the derivatives of these sums, term by term.
"""

import math

import numpy as np


def corners(x, y, height, width):
    """Yields (row of the level, column of the level, weight, d weight / dx, d weight / dy) of each pixel in reach.

    ``x`` and ``y`` are in pixels. Nothing is in reach of NaN and infinity.
    """
    if not (math.isfinite(x) and math.isfinite(y)):
        return
    for line in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= line < height and 0 <= column < width:
                across, down = 1 - abs(x - column), 1 - abs(y - line)
                slope_x = 1 if column > x else -1
                slope_y = 1 if line > y else -1
                yield line, column, across * down, slope_x * down, slope_y * across


def ms_deform_attn_loops(value, spatial_shapes, sampling_locations, attention_weights, grad_output=None):
    """The output, or with ``grad_output`` the gradients of value, locations and weights.

    Args:
        value: (B, S, M, D) float64 array; the other arguments likewise.
        spatial_shapes: (H, W) of each level.
        sampling_locations: (B, Q, M, L, P, 2).
        attention_weights: (B, Q, M, L, P).
        grad_output: (B, Q, M * D) or None.
    """
    batch, _, heads, channels = value.shape
    _, queries, _, _, points, _ = sampling_locations.shape
    output = np.zeros((batch, queries, heads, channels))
    grads = tuple(np.zeros_like(array) for array in (value, sampling_locations, attention_weights))
    gradient = None if grad_output is None else grad_output.reshape(output.shape)
    for b, q, m, p in np.ndindex(batch, queries, heads, points):
        start = 0
        for level, (height, width) in enumerate(spatial_shapes):
            x, y = sampling_locations[b, q, m, level, p] * (width, height) - 0.5
            attention = attention_weights[b, q, m, level, p]
            for line, column, weight, slope_x, slope_y in corners(x, y, height, width):
                row = start + line * width + column
                output[b, q, m] += attention * weight * value[b, row, m]
                if gradient is not None:
                    dot = float(value[b, row, m] @ gradient[b, q, m])
                    grads[0][b, row, m] += attention * weight * gradient[b, q, m]
                    grads[1][b, q, m, level, p] += (
                        attention * slope_x * width * dot,
                        attention * slope_y * height * dot,
                    )
                    grads[2][b, q, m, level, p] += weight * dot
            start += height * width
    return output.reshape(batch, queries, heads * channels) if gradient is None else grads
