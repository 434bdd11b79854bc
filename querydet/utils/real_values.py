"""Tensors with values inside of code that makes all others on the meta device."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class RealValues(TorchFunctionMode):
    """A context in which some functions make their tensors on the CPU, whatever the default device is.

    Libraries read the values of small tensors while they build a network, such as its widths.

    Args:
        functions: of PyTorch, with an argument `device`, such as `torch.linspace`.
    """

    def __init__(self, *functions: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self._functions = functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in self._functions:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)
