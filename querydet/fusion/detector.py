"""A detector in its form for inference on a CPU."""

import copy
from typing import Any

import torch
from torch import nn

from querydet.fusion.autocast import InLowerPrecision
from querydet.fusion.exchange import exchange_modules
from querydet.fusion.layers import Layers, PackedLayers
from querydet.fusion.rules import RULES
from querydet.modeling.detector import QueryDetector

_FUSED = "is_fused"  # attribute of fused forms


class InferenceOnly:
    """The forward pass of a fused detector, which refuses to train.

    Args:
        detector: the fused detector.
    """

    def __init__(self, detector: QueryDetector) -> None:
        self.detector, self.function = detector, detector.forward

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Detect.

        Raises:
            ValueError: the detector is in training mode.
        """
        if self.detector.training:
            raise ValueError("this form of a detector only detects: train the detector that it was made from")
        return self.function(*arguments, **named)


def can_fuse(model: nn.Module) -> bool:
    """Return whether a model has a fused form: a detector in float32 on a CPU for which torch has oneDNN."""
    if not isinstance(model, QueryDetector) or not torch.backends.mkldnn.is_available():
        return False
    return all(
        type(tensor) is nn.Parameter and (tensor.device.type, tensor.dtype) == ("cpu", torch.float32)
        for tensor in model.parameters()  # those of a sharded model are of another type
    )


def is_fused(model: nn.Module) -> bool:
    """Return whether a model is a fused form."""
    return _FUSED in vars(model)


def fuse(detector: QueryDetector, dtype: torch.dtype = torch.float32, layers: Layers | None = None) -> QueryDetector:
    """Return the fused form of a detector, for inference.

    Weights that are packed are copied, all others shared, and so are the settings of the post-processing: after further
    training, fuse the detector again. Classes and boxes are float32 in every form.

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
    settings = (detector.postprocess, getattr(detector.masks, "paste", None))  # which may be changed between two calls
    shared = {id(thing): thing for thing in (*detector.parameters(), *detector.buffers(), *settings)}
    fused = copy.deepcopy(detector, shared).eval()
    fused.forward = InferenceOnly(fused)  # type: ignore[method-assign]
    with torch.no_grad():
        exchange_modules(fused, PackedLayers(dtype) if layers is None else layers, RULES)
    setattr(fused, _FUSED, True)
    if dtype != torch.float32:
        fused.forward = InLowerPrecision(fused.forward, "cpu", dtype)  # type: ignore[method-assign]
    return fused
