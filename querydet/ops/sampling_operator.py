"""Registration shared by the two deformable attention operators, and their fallback where there is no kernel.

Both take `(value, spatial_shapes, *points)`: the pixels of all levels, the flat list of H and W of every level, and
tensors that define sampling locations and weights; the last of them is (B, Q, M, L, P). Their backward is an operator
too, so that only inputs are saved; it additionally takes `(grad_output, deterministic, output_mask)` at the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from querydet.ops.native import MISSING_EXTENSION, warn_once_fallback

LevelShapes = tuple[tuple[int, int], ...]


def as_level_shapes(spatial_shapes: Sequence[tuple[int, int]] | Tensor) -> LevelShapes:
    """Convert level sizes to a tuple of (H, W) pairs of host integers.

    Args:
        spatial_shapes: a sequence of L pairs (H, W), or an int64 tensor (L, 2).

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
    """Group a flat list of sizes, H and W of every level, into (H, W) pairs.

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
        schema, backward_schema: equal to those in ops/csrc/schema.cpp, which define the operator if the extension is
            loaded.
        check: raises ValueError unless (value, level shapes, *points) fit together.
        definition, definition_backward: the operator in PyTorch's own operators, of (value, level shapes, *points), and
            its gradients, of the same arguments and the output's gradient. They run on every device without a kernel.
    """

    schema: str
    backward_schema: str
    check: Callable[..., None]
    definition: Callable[..., Tensor]
    definition_backward: Callable[..., tuple[Tensor, ...]]

    @property
    def name(self) -> str:
        """Return the name without the namespace."""
        return self.schema.partition("(")[0]

    @property
    def backward_name(self) -> str:
        """Return the name of the backward without the namespace."""
        return self.backward_schema.partition("(")[0]

    def define(self, value: Tensor, spatial_shapes: Sequence[int], *points: Tensor) -> Tensor:
        """Run the definition with the arguments of the operator."""
        shapes = level_pairs(spatial_shapes)
        self.check(value, shapes, *points)
        return self.definition(value, shapes, *points)

    def register(self) -> torch.library.Library:
        """Register everything that `torch.ops.querydet.<name>` and its backward need besides kernels.

        The extension, if loaded, brings schema and kernels. This adds the schema otherwise, the definition for every
        other device, shape inference and autograd.

        Returns:
            The library, which must be kept alive as long as the operator is used.
        """
        library = torch.library.Library("querydet", "FRAGMENT")
        if MISSING_EXTENSION:
            library.define(self.schema)
            library.define(self.backward_schema)
        library.impl(self.name, self._forward_fallback, "CompositeExplicitAutograd")
        library.impl(self.backward_name, self._backward_fallback, "CompositeExplicitAutograd")
        forward, backward = f"querydet::{self.name}", f"querydet::{self.backward_name}"
        torch.library.register_fake(forward, self._forward_fake, lib=library)
        torch.library.register_fake(backward, self._backward_fake, lib=library)
        torch.library.register_autograd(forward, self._differentiate, setup_context=_save_inputs, lib=library)
        torch.library.register_autograd(backward, self._refuse_second_derivative, lib=library)
        return library

    def _forward_fallback(self, value: Tensor, spatial_shapes: Sequence[int], *points: Tensor) -> Tensor:
        warn_once_fallback(value.device.type)
        return self.define(value, spatial_shapes, *points)

    def _backward_fallback(self, value: Tensor, spatial_shapes: Sequence[int], *arguments: Any) -> tuple[Tensor, ...]:
        *points, grad_output, _, output_mask = arguments
        shapes = level_pairs(spatial_shapes)
        self.check(value, shapes, *points)
        expected = (value.shape[0], points[-1].shape[1], value.shape[2] * value.shape[3])
        if grad_output.shape != expected:
            raise ValueError(f"grad_output must be {expected}, but got shape {tuple(grad_output.shape)}")
        warn_once_fallback(value.device.type)
        grads = self.definition_backward(value, shapes, *points, grad_output)
        return tuple(grad if needed else grad.new_empty(0) for grad, needed in zip(grads, output_mask, strict=True))

    def _forward_fake(self, value: Tensor, spatial_shapes: Sequence[int], *points: Tensor) -> Tensor:
        self.check(value, level_pairs(spatial_shapes), *points)
        batch, _, heads, channels = value.shape
        return value.new_empty(batch, points[-1].shape[1], heads * channels)

    def _backward_fake(self, value: Tensor, spatial_shapes: Sequence[int], *arguments: Any) -> tuple[Tensor, ...]:
        *points, _, _, output_mask = arguments
        return tuple(
            tensor.new_empty(tensor.shape if needed else (0,))
            for tensor, needed in zip((value, *points), output_mask, strict=True)
        )

    def _differentiate(self, ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        value, *points = ctx.saved_tensors
        needs_value, _, *needs_points = ctx.needs_input_grad
        mask = [needs_value, *needs_points]
        backward = getattr(torch.ops.querydet, self.backward_name)
        deterministic = torch.are_deterministic_algorithms_enabled()
        grads = backward(value, ctx.spatial_shapes, *points, grad_output, deterministic, mask)
        first, *rest = (grad if needed else None for grad, needed in zip(grads, mask, strict=True))
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
