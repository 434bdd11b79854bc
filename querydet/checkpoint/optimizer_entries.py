"""Whether a saved state of an optimizer is that of its parameters: torch does not ask, and writes beyond its end."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

STEP = "step"  # a number, for each parameter
Shapes = Sequence[Sequence[torch.Size]]


def check_optimizer(saved: Mapping[str, Any], shapes: Shapes, path: str) -> None:
    """Refuse the state of an optimizer that is of other parameters.

    Args:
        saved: an optimizer's `state_dict`.
        shapes: of the parameters of each group of this run's optimizer.
        path: of the file, for messages.

    Raises:
        ValueError: there are other groups, or a state is not that of its parameter.
    """
    owner = f"the state of the optimizer in checkpoint {path} is not of this run"
    identifiers: list[Any] = [group.get("params") for group in saved["param_groups"]]
    sizes = [len(group) if isinstance(group, list | tuple) else None for group in identifiers]
    wanted = [len(group) for group in shapes]
    if sizes != wanted:
        raise ValueError(f"{owner}: it has groups of {sizes} parameters, the optimizer of this config {wanted}")
    keys = [key for group in identifiers for key in group]
    if not all(type(key) is int for key in keys):
        raise ValueError(f"{owner}: a parameter has no number")
    problem = find_problem(
        [saved["state"].get(key, {}) for key in keys], [shape for group in shapes for shape in group]
    )
    if problem:
        raise ValueError(f"{owner}: {problem}")


def find_problem(states: Sequence[Mapping[str, Any]], shapes: Sequence[torch.Size]) -> str | None:
    """Say which state is not that of its parameter; None: all are.

    Args:
        states: of the parameters, empty for one that has taken no step.
        shapes: of the parameters.
    """
    expected = sorted(set().union(*states))
    for index, (state, shape) in enumerate(zip(states, shapes, strict=True)):
        problems = [f"{key} is missing" for key in expected if key not in state] if state else []
        problems += [f"{key} is {text}" for key, value in state.items() if (text := _problem(key, value, shape))]
        if problems:
            return f"of parameter {index}, with the shape {tuple(shape)}, {problems[0]}"
    return None


def _problem(key: str, value: Any, shape: torch.Size) -> str | None:
    """Say what is wrong with an entry; None: nothing."""
    if key == STEP:
        right = isinstance(value, Tensor | int | float) and torch.as_tensor(value).numel() == 1 and float(value) >= 0
        return None if right else "no number of steps"
    if not isinstance(value, Tensor):
        return None if value is None or isinstance(value, bool | int | float) else f"of the type {type(value).__name__}"
    if value.shape != shape:
        return f"of the shape {tuple(value.shape)}"
    return None if value.is_floating_point() else f"of the type {value.dtype}"
