"""Stacks of equal transformer layers: making them from one layer, and calling them with or without recomputation."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def stack_layers(layer: nn.Module, num_layers: int) -> nn.ModuleList:
    """Make a stack of equal layers, each with random initial weights of its own.

    Args:
        layer: the first layer; the others are copies of it with newly drawn weights.
        num_layers: number of layers.

    Raises:
        ValueError: for less than one layer.
    """
    if num_layers < 1:
        raise ValueError(f"num_layers must be at least 1, found {num_layers}")
    layers = nn.ModuleList([layer])
    layers.extend(redrawn(layer) for _ in range(num_layers - 1))  # one by one: `querydet.utils.built_size` counts them
    return layers


def redrawn(module: nn.Module) -> nn.Module:
    """Copy a module and draw the initial weights of the copy.

    A module with a method `another`, without arguments, makes the copy itself. Any other is copied, and every module in
    it with a method `reset_parameters` draws its weights again, children first: the initialisation of a module then
    overrides that of the torch layers in it.
    """
    another = getattr(module, "another", None)
    if another is not None:
        new: nn.Module = another()
        return new
    copied = copy.deepcopy(module)
    for child in reversed(list(copied.modules())):
        reset = getattr(child, "reset_parameters", None) or getattr(child, "_reset_parameters", None)
        if reset is not None:
            reset()
    return copied


def run_layer(layer: Callable[..., Any], recompute: bool, *inputs: Any) -> Any:
    """Call a layer, or a function that calls one.

    With `recompute`, only its inputs are kept for the backward pass (activation checkpointing). PyTorch's non-reentrant
    form differentiates through tensors in dataclasses; its reentrant form does not.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)
    return layer(*inputs)
