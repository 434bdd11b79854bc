"""Whether the state of an optimizer belongs to its parameters."""

import torch

from querydet.checkpoint.optimizer_entries import Shapes, find_problem


def shapes_of(optimizer: torch.optim.Optimizer) -> Shapes:
    """Return the shapes of the parameters of each group."""
    return [[parameter.shape for parameter in group["params"]] for group in optimizer.param_groups]


def check_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Refuse a loaded state whose tensors are not those of the parameters.

    Args:
        optimizer: with the state.

    Raises:
        ValueError: a tensor has another shape or type than its parameter, or is missing; a number of steps is none.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = [optimizer.state.get(parameter, {}) for parameter in parameters]
    problem = find_problem(states, [parameter.shape for parameter in parameters])
    if problem:
        raise ValueError(f"the state of the optimizer in the checkpoint is not of this model: {problem}")
