"""Dropout whose mask is cheap on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

STEPS = 2**16  # the probability on a CPU is a multiple of 1 / STEPS


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`, but on a CPU four elements share one random number of 64 bits.

    There torch draws 64 bits for every element, on most processors one after the other, which takes longer than the
    sampling operator. The probability is rounded to a multiple of 2 to the power of -16, and elements that are kept are
    scaled by the rounded one, so that the mean stays exact.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Set random elements of values of any shape to zero, in training."""
        if not self.training or self.p == 0 or values.device.type != "cpu":
            return super().forward(values)
        result: Tensor = _DropoutOnCpu.apply(values, round(self.p * STEPS))
        return result

    def rectified(self, values: Tensor) -> Tensor:
        """Apply dropout to `values.relu()`, in fewer passes through the memory on a CPU.

        Elements that are kept are positive, and all others have no gradient, so that the backward pass needs nothing
        but the result.
        """
        if not self.training or self.p == 0 or values.device.type != "cpu":
            return self(values.relu())
        result: Tensor = _RectifiedDropoutOnCpu.apply(values, round(self.p * STEPS))
        return result


def _draw(values: Tensor) -> Tensor:
    """Draw a random int16 for each of the values."""
    numbers = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return numbers.view(torch.int16)[: values.numel()].view(values.shape)


def _scale(dropped: int) -> float:
    return STEPS / (STEPS - dropped) if dropped < STEPS else 0.0


class _DropoutOnCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dropped: int) -> Tensor:
        keep = _draw(values) >= dropped - STEPS // 2
        ctx.save_for_backward(keep)
        ctx.scale = _scale(dropped)
        return (values * keep).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return (grad * keep).mul_(ctx.scale), None


class _RectifiedDropoutOnCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dropped: int) -> Tensor:
        ctx.scale = _scale(dropped)
        result = values.relu().masked_fill_(_draw(values) < dropped - STEPS // 2, 0).mul_(ctx.scale)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, result, 0).mul_(ctx.scale), None
