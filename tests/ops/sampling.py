"""Inputs of the deformable attention operator, and how its tests run and compare it."""

import torch
from torch import Tensor

from querydet.ops import multi_scale_deformable_attention

SHAPES = ((5, 4), (3, 6), (1, 1))


def make_inputs(
    shapes=SHAPES, batch=2, heads=2, channels=8, queries=7, points=3, dtype=torch.float64, span=(-0.2, 1.2), seed=0
):
    """Value, locations and weights; locations are drawn from ``span``, so that some lie outside."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.rand(size, generator=generator, dtype=torch.float64)

    pixels = sum(height * width for height, width in shapes)
    value = draw(batch, pixels, heads, channels) * 2 - 1
    locations = draw(batch, queries, heads, len(shapes), points, 2) * (span[1] - span[0]) + span[0]
    weights = draw(batch, queries, heads, len(shapes), points)
    coordinates = torch.promote_types(dtype, torch.float32)
    return value.to(dtype), locations.to(coordinates), weights.to(coordinates)


def between_pixels(shapes, locations, margin=0.05):
    """Moves locations at least ``margin`` pixels away from pixel centres, where derivatives are one-sided."""
    sizes = torch.tensor([(width, height) for height, width in shapes], dtype=locations.dtype)[:, None]
    pixels = locations * sizes - 0.5
    part = (pixels - pixels.floor()).clamp(margin, 1 - margin)
    return (pixels.floor() + part + 0.5) / sizes


def run(value: Tensor, shapes, locations: Tensor, weights: Tensor, grad_output: Tensor | None = None):
    """The output, and the three gradients for ``grad_output`` (ones by default)."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in (value, locations, weights)]
    output = multi_scale_deformable_attention(inputs[0], shapes, inputs[1], inputs[2])
    output.backward(torch.ones_like(output) if grad_output is None else grad_output)
    return output.detach(), *(tensor.grad for tensor in inputs)


def assert_near(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """``tolerance`` is relative to the largest entry of ``wanted``."""
    assert found.shape == wanted.shape
    if wanted.numel():
        scale = max(wanted.double().abs().max().item(), 1e-30)
        assert (found.double() - wanted.double()).abs().max().item() <= tolerance * scale
