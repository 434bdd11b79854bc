"""Dropout whose mask is cheap on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

STEPS = 2**16  # the probability on a CPU is a multiple of 1 / STEPS


class Dropout(nn.Dropout):
    """``torch.nn.Dropout``, but on a CPU four elements share one random number of 64 bits.

    There torch draws 64 bits for every element, with most processors one after the other, which takes longer than the
    sampling operator. The probability is rounded to a multiple of 2 to the power of -16, and what is kept is scaled by
    the rounded one: the mean stays exact.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape with some set to zero, in training."""
        if not self.training or self.p == 0 or values.device.type != "cpu":
            return super().forward(values)
        dropped: Tensor = _DropoutOnCpu.apply(values, round(self.p * STEPS))
        return dropped


class _DropoutOnCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dropped: int) -> Tensor:
        drawn = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        keep = drawn.view(torch.int16)[: values.numel()].view(values.shape) >= dropped - STEPS // 2
        ctx.save_for_backward(keep)
        ctx.scale = STEPS / (STEPS - dropped) if dropped < STEPS else 0.0
        return torch.where(keep, values, 0).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return torch.where(keep, grad, 0).mul_(ctx.scale), None
