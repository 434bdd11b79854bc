"""The precision of inference, and the form of a model that computes in it."""

import copy
import functools
import time
from collections.abc import Hashable

import torch
from torch import Tensor, nn

from querydet.fusion.autocast import InLowerPrecision
from querydet.fusion.detector import can_fuse, fuse, is_fused
from querydet.modeling.detector import QueryDetector
from querydet.utils.precisions import check_precision

WORTH = 1.3  # a product has to be so many times faster in bfloat16 for "auto" to choose it


def choose_dtype(precision: str, device: torch.device | str) -> torch.dtype:
    """Return the floating point type of a precision.

    Args:
        precision: "float32", "bfloat16", or "auto": bfloat16 where a product of a typical size is faster in it on this
            machine, which is measured once.
        device: the device of the model.

    Raises:
        ValueError: for another precision.
    """
    check_precision(precision)
    if precision == "auto":
        return torch.bfloat16 if bfloat16_gain(str(device)) > WORTH else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


@functools.cache
def bfloat16_gain(device: str) -> float:
    """Measure how many times faster than in float32 this machine multiplies matrices in bfloat16."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        values = torch.ones(2048, 256, dtype=dtype, device=device)
        weight = torch.ones(1024, 256, dtype=dtype, device=device)
        seconds[dtype] = min(_seconds(values, weight) for _ in range(5))
    return seconds[torch.float32] / seconds[torch.bfloat16]


def _seconds(values: Tensor, weight: Tensor) -> float:
    finish = torch.cuda.synchronize if values.is_cuda else lambda: None
    finish()
    start = time.perf_counter()
    values @ weight.T
    finish()
    return time.perf_counter() - start


def inference_form(model: nn.Module, precision: str = "float32") -> nn.Module:
    """Return the form of a model that detects fastest in a precision.

    On a CPU that is the fused form of a detector (`querydet.fusion.fuse`); else the model itself, in bfloat16 under
    autocast.

    Args:
        model: stays as it is; its weights are shared where they are not packed.
        precision: one of `PRECISIONS`, see `choose_dtype`.

    Raises:
        ValueError: for another precision.
    """
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    dtype = choose_dtype(precision, device)
    if isinstance(model, QueryDetector) and is_fused(model):
        return model
    if can_fuse(model):
        assert isinstance(model, QueryDetector)
        return fuse(model, dtype)
    if dtype == torch.float32:
        return model
    lower = copy.copy(model)
    lower.forward = InLowerPrecision(model.forward, device.type, dtype)
    return lower


class InferenceForm:
    """Makes the form of a model when it is first needed, and again when the model's weights have changed.

    Args:
        precision: one of `PRECISIONS`.

    Raises:
        ValueError: for another precision.
    """

    def __init__(self, precision: str = "float32") -> None:
        self.precision = check_precision(precision)
        self._made: tuple[Hashable, nn.Module] | None = None
        self._described: tuple[object, ...] = ()  # kept alive: the identity of a freed tensor may be another's next

    def of(self, model: nn.Module) -> nn.Module:
        """Return the form of a model."""
        state = _state(model)
        if self._made is None or self._made[0] != state:
            self._made = state, inference_form(model, self.precision)
            self._described = (model, *model.parameters(), *model.buffers(), *_settings(model))
        return self._made[1]


def _state(model: nn.Module) -> Hashable:
    """Describe which tensors and parts a model has, and how often they were written to."""
    tensors = (*model.parameters(), *model.buffers())
    versions = tuple((id(tensor), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)
    return id(model), versions, tuple(map(id, _settings(model)))


def _settings(model: nn.Module) -> tuple[object, ...]:
    """Return the parts of a detector that may be exchanged between two calls; None for those that a model lacks."""
    return getattr(model, "postprocess", None), getattr(model, "masks", None)
