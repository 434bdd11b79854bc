"""What the two deformable attention operators share: how they are registered, and what runs where there is no kernel.

Both take ``(value, spatial_shapes, *points)``: the pixels of all levels, H and W of every level in a row, and tensors
that say where is sampled and with which weights, the last of which is (B, Q, M, L, P). Their backward is an operator
too, so that only inputs are saved, and takes ``(grad_output, deterministic, output_mask)`` behind them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from querydet.ops.native import MISSING_EXTENSION, warn_once_fallback

LevelShapes = tuple[tuple[int, int], ...]


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


def level_pairs(flat: Sequence[int]) -> LevelShapes:
    """The (H, W) of each level from H, W of every level in a row, as operators take them.

    Raises:
        ValueError: the number of sizes is odd, or one is not an integer that is zero or greater.
    """
    if len(flat) % 2:
        raise ValueError(f"spatial_shapes must hold H and W of every level, but got {len(flat)} numbers: {list(flat)}")
    return as_level_shapes(list(zip(flat[0::2], flat[1::2], strict=True)))


@dataclass(frozen=True)
class SamplingOperator:
    """One operator and its backward.

    Args:
        schema, backward_schema: the same words stand in ops/csrc/schema.cpp: whoever comes first defines the operator.
        check: raises ValueError unless (value, level shapes, *points) fit together.
        definition, definition_backward: the operator in PyTorch's own operators, of (value, level shapes, *points), and
            its gradients, of the same and the output's gradient. They run on every device without a kernel.
    """

    schema: str
    backward_schema: str
    check: Callable[..., None]
    definition: Callable[..., Tensor]
    definition_backward: Callable[..., tuple[Tensor, ...]]

    @property
    def name(self) -> str:
        """Without the namespace."""
        return self.schema.partition("(")[0]

    @property
    def backward_name(self) -> str:
        """Without the namespace."""
        return self.backward_schema.partition("(")[0]

    def define(self, value: Tensor, spatial_shapes: Sequence[int], *points: Tensor) -> Tensor:
        """The definition, with the arguments of the operator."""
        shapes = level_pairs(spatial_shapes)
        self.check(value, shapes, *points)
        return self.definition(value, shapes, *points)

    def register(self) -> torch.library.Library:
        """Make ``torch.ops.querydet.<name>`` and its backward complete; keep what is returned.

        The extension, where it was loaded, brings kernels; here come the schema without it, the definition for every
        other device, shape inference and autograd.
        """
        library = torch.library.Library("querydet", "FRAGMENT")
        if MISSING_EXTENSION:
            library.define(self.schema)
            library.define(self.backward_schema)
        library.impl(self.name, self._forward_fallback, "CompositeExplicitAutograd")
        library.impl(self.backward_name, self._backward_slowly, "CompositeExplicitAutograd")
        forward, backward = f"querydet::{self.name}", f"querydet::{self.backward_name}"
        torch.library.register_fake(forward, self._forward_fake, lib=library)
        torch.library.register_fake(backward, self._backward_fake, lib=library)
        torch.library.register_autograd(forward, self._differentiate, setup_context=_save_inputs, lib=library)
        torch.library.register_autograd(backward, self._refuse_second_derivative, lib=library)
        return library

    def _forward_fallback(self, value: Tensor, spatial_shapes: Sequence[int], *points: Tensor) -> Tensor:
        warn_once_fallback(value.device.type)
        return self.define(value, spatial_shapes, *points)

    def _backward_slowly(self, value: Tensor, spatial_shapes: Sequence[int], *arguments: Any) -> tuple[Tensor, ...]:
        *points, grad_output, _, output_mask = arguments
        shapes = level_pairs(spatial_shapes)
        self.check(value, shapes, *points)
        expected = (value.shape[0], points[-1].shape[1], value.shape[2] * value.shape[3])
        if grad_output.shape != expected:
            raise ValueError(f"grad_output must be {expected}, but got shape {tuple(grad_output.shape)}")
        warn_once_fallback(value.device.type)
        grads = self.definition_backward(value, shapes, *points, grad_output)
        return tuple(grad if wanted else grad.new_empty(0) for grad, wanted in zip(grads, output_mask, strict=True))

    def _forward_fake(self, value: Tensor, spatial_shapes: Sequence[int], *points: Tensor) -> Tensor:
        self.check(value, level_pairs(spatial_shapes), *points)
        batch, _, heads, channels = value.shape
        return value.new_empty(batch, points[-1].shape[1], heads * channels)

    def _backward_fake(self, value: Tensor, spatial_shapes: Sequence[int], *arguments: Any) -> tuple[Tensor, ...]:
        *points, _, _, output_mask = arguments
        return tuple(
            tensor.new_empty(tensor.shape if wanted else (0,))
            for tensor, wanted in zip((value, *points), output_mask, strict=True)
        )

    def _differentiate(self, ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        value, *points = ctx.saved_tensors
        of_value, _, *of_points = ctx.needs_input_grad
        mask = [of_value, *of_points]
        backward = getattr(torch.ops.querydet, self.backward_name)
        deterministic = torch.are_deterministic_algorithms_enabled()
        grads = backward(value, ctx.spatial_shapes, *points, grad_output, deterministic, mask)
        first, *rest = (grad if wanted else None for grad, wanted in zip(grads, mask, strict=True))
        return first, None, *rest

    def _refuse_second_derivative(self, ctx: Any, *grads: Tensor) -> None:
        raise RuntimeError(
            f"second derivatives of querydet::{self.name} are not implemented: its backward is not differentiable. "
            f"Call {self.definition.__name__}, the PyTorch definition, instead."
        )


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, spatial_shapes, *points = inputs
    ctx.save_for_backward(value, *points)
    ctx.spatial_shapes = spatial_shapes
