"""Stacks of equal transformer layers: copies of one, and how to call them."""

import copy
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def stack_layers(layer: nn.Module, num_layers: int) -> nn.ModuleList:
    """Make a stack of `num_layers` layers like the one given, each with its own random initial weights.

    Raises:
        ValueError: when `num_layers` is less than one.
    """
    if num_layers < 1:
        raise ValueError(f"num_layers must be at least 1, found {num_layers}")
    return nn.ModuleList([layer] + [redrawn(layer) for _ in range(num_layers - 1)])


def redrawn(module: nn.Module) -> nn.Module:
    """Copy a module and draw the initial weights of the copy.

    A module that has `another`, a function without arguments, makes the copy itself. Any other is copied, and every
    module in it that can reset its parameters does so, children first: an initialisation of one's own overrides that of
    the torch layers inside.
    """
    another = getattr(module, "another", None)
    if another is not None:
        made: nn.Module = another()
        return made
    copied = copy.deepcopy(module)
    for child in reversed(list(copied.modules())):
        reset = getattr(child, "reset_parameters", None) or getattr(child, "_reset_parameters", None)
        if reset is not None:
            reset()
    return copied


def run_layer(layer: nn.Module, recompute: bool, *inputs: Any) -> Any:
    """Call a layer; with `recompute`, keep only its inputs for the backward pass (activation checkpointing).

    The non-reentrant form differentiates through tensors held in dataclasses; the reentrant one does not.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)
    return layer(*inputs)
