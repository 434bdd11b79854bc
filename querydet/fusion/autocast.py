"""A model that computes in 16 bits where autocast would."""

from collections.abc import Callable
from typing import Any

import torch


class InLowerPrecision:
    """A function under autocast.

    Args:
        function: what to call.
        device: the kind of device, "cpu" or "cuda".
        dtype: the 16-bit type.
    """

    def __init__(self, function: Callable[..., Any], device: str, dtype: torch.dtype) -> None:
        self.function, self.device, self.dtype = function, device, dtype

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        with torch.autocast(self.device, self.dtype):
            return self.function(*arguments, **named)
