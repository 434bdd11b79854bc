"""Whether the state of an optimizer belongs to its parameters: torch's kernels do not ask, and write beyond its end."""

from typing import Any

import torch
from torch import Tensor

STEP = "step"  # a number, for each parameter


def check_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Refuse a loaded state whose tensors are not those of the parameters.

    Args:
        optimizer: with the state.

    Raises:
        ValueError: a tensor has another shape or type than its parameter, or is missing; a number of steps is none.
    """
    expected: set[str] = set()
    for state in optimizer.state.values():
        expected |= set(state)
    for group in optimizer.param_groups:
        for index, parameter in enumerate(group["params"]):
            state = optimizer.state.get(parameter, {})
            problems = [f"{key} is missing" for key in sorted(expected - set(state)) if state]
            problems += [
                f"{key} is {text}" for key, value in state.items() if (text := _problem(key, value, parameter))
            ]
            if problems:
                raise ValueError(
                    "the state of the optimizer in the checkpoint is not of this model: of parameter "
                    f"{index} of a group, with the shape {tuple(parameter.shape)}, {problems[0]}"
                )


def _problem(key: str, value: Any, parameter: Tensor) -> str | None:
    """Say what is wrong with an entry; None: nothing."""
    if key == STEP:
        right = isinstance(value, Tensor | int | float) and torch.as_tensor(value).numel() == 1 and float(value) >= 0
        return None if right else "no number of steps"
    if not isinstance(value, Tensor):
        return None if value is None or isinstance(value, bool | int | float) else f"of the type {type(value).__name__}"
    if value.shape != parameter.shape:
        return f"of the shape {tuple(value.shape)}"
    return None if value.is_floating_point() else f"of the type {value.dtype}"
