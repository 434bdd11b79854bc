"""Attention: of all tokens to all, and multi-scale deformable attention (arXiv 2010.04159, section 4.1)."""

import torch
from torch import Tensor

from tests.reference.detectors.weights import Weights


def mix(query: Tensor, key: Tensor, value: Tensor, heads: int, blocked: Tensor | None = None) -> Tensor:
    """Softmax attention (B, N, C) of each head on its channels; ``blocked`` broadcasts to (B, N, keys)."""
    mixed = []
    for q, k, v in zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True):
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if blocked is not None:
            scores = scores.masked_fill(blocked, float("-inf"))
        mixed.append(scores.softmax(-1) @ v)
    return torch.cat(mixed, -1)


def multi_head(weights: Weights, query_key: Tensor, value: Tensor, heads: int, blocked: Tensor | None = None) -> Tensor:
    """`torch.nn.MultiheadAttention` with one tensor as queries and keys."""
    matrices, biases = weights["in_proj_weight"].chunk(3), weights["in_proj_bias"].chunk(3)
    query, key, value = (
        values @ matrix.T + bias
        for values, matrix, bias in zip((query_key, query_key, value), matrices, biases, strict=True)
    )
    return weights.at("out_proj").linear(mix(query, key, value, heads, blocked))


def bilinear(value: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample maps (B, h, w, M, D) at pixel coordinates (B, N, M, P); outside of the map is zero."""
    batch, height, width, heads, _ = value.shape
    image = torch.arange(batch).view(-1, 1, 1, 1)
    head = torch.arange(heads).view(1, 1, -1, 1)
    total: Tensor | float = 0.0
    for column in (x.detach().floor(), x.detach().floor() + 1):
        for row in (y.detach().floor(), y.detach().floor() + 1):
            share = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            corner = value[image, row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long(), head]
            total = total + (share * inside)[..., None] * corner
    return total


def deformable(
    weights: Weights, query: Tensor, reference: Tensor, memory: Tensor, padding: Tensor, shapes: list, heads: int
) -> Tensor:
    """Multi-scale deformable attention.

    Args:
        weights: ``sampling_offsets``, ``attention_weights``, ``value_proj`` and ``output_proj``.
        query: (B, N, C), with its position.
        reference: points (B, N, L, 2) or boxes (B, N, L, 4), relative to each padded map.
        memory: (B, S, C).
        padding: (B, S), True where a token is padding: its value is zero after the projection.
        shapes: (h, w) of each level.
        heads: M.
    """
    batch, count, width = query.shape
    levels = len(shapes)
    value = weights.at("value_proj").linear(memory) * ~padding[..., None]
    value = value.view(batch, -1, heads, width // heads)
    offsets = weights.at("sampling_offsets").linear(query).view(batch, count, heads, levels, -1, 2)
    points = offsets.shape[4]
    scores = weights.at("attention_weights").linear(query).view(batch, count, heads, levels * points)
    shares = scores.softmax(-1).view(batch, count, heads, levels, points)
    total: Tensor | float = 0.0
    start = 0
    for level, (h, w) in enumerate(shapes):
        place = reference[:, :, None, level, None]
        offset = offsets[:, :, :, level]
        if place.shape[-1] == 2:
            location = place + offset / torch.tensor([w, h])
        else:
            location = place[..., :2] + offset / points * place[..., 2:] * 0.5
        maps = value[:, start : start + h * w].view(batch, h, w, heads, -1)
        sampled = bilinear(maps, location[..., 0] * w - 0.5, location[..., 1] * h - 0.5)
        total = total + (shares[:, :, :, level, :, None] * sampled).sum(3)
        start += h * w
    return weights.at("output_proj").linear(total.flatten(2))
