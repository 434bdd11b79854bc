"""A detector in its form for inference on a CPU."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from querydet.fusion.exchange import exchange_modules
from querydet.fusion.layers import Layers, PackedLayers
from querydet.fusion.rules import RULES
from querydet.modeling.detector import QueryDetector


def can_fuse(model: nn.Module) -> bool:
    """Return whether a model has a fused form: a detector in float32 on a CPU for which torch has oneDNN."""
    if not isinstance(model, QueryDetector) or not torch.backends.mkldnn.is_available():
        return False
    return all((tensor.device.type, tensor.dtype) == ("cpu", torch.float32) for tensor in model.parameters())


def fuse(detector: QueryDetector, dtype: torch.dtype = torch.float32, layers: Layers | None = None) -> QueryDetector:
    """Return the fused form of a detector, for inference.

    Weights that are packed are copied, all others shared: train the detector, and fuse it again. Classes and boxes are
    float32 in every form.

    Args:
        detector: a detector on a CPU; it stays as it is.
        dtype: float32, with results that are those of the detector up to rounding, or bfloat16.
        layers: makes the layers; None: `PackedLayers` of that type.

    Raises:
        ValueError: the detector has no fused form, see `can_fuse`.
    """
    if not can_fuse(detector):
        kinds = sorted({f"{tensor.dtype} on {tensor.device}" for tensor in detector.parameters()})
        raise ValueError(
            "only detectors in float32 on a CPU have a fused form, for which torch needs oneDNN; this one has weights "
            f"in {', '.join(kinds)}"
        )
    shared = {id(tensor): tensor for tensor in (*detector.parameters(), *detector.buffers())}
    fused = copy.deepcopy(detector, shared).eval()
    with torch.no_grad():
        exchange_modules(fused, PackedLayers(dtype) if layers is None else layers, RULES)
    if dtype != torch.float32:
        fused.forward = InLowerPrecision(fused.forward, dtype)  # type: ignore[method-assign]
    return fused


class InLowerPrecision:
    """A function under autocast: what has no fused form takes 16-bit values too.

    Args:
        function: what to call.
        dtype: the 16-bit type.
    """

    def __init__(self, function: Callable[..., Any], dtype: torch.dtype) -> None:
        self.function, self.dtype = function, dtype

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        with torch.autocast("cpu", self.dtype):
            return self.function(*arguments, **named)
