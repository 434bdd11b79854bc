"""From a detector to one whose products and convolutions compute with 8-bit codes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from querydet.fusion import fuse
from querydet.fusion.autocast import InLowerPrecision
from querydet.fusion.blocks import FusedBlock
from querydet.modeling.detector import QueryDetector
from querydet.quantization.defaults import FLOAT
from querydet.quantization.layers import LayerCodes, QuantizedConv2d, QuantizedLinear
from querydet.quantization.observed import Observed, ObservedLayers

Codes = Mapping[str, LayerCodes]


def observe(detector: QueryDetector, observer: str = "minmax") -> QueryDetector:
    """Return the fused form of a detector in float32, whose layers watch their inputs.

    Args:
        detector: in float32, on a CPU; it stays as it is.
        observer: see `querydet.quantization.observed.OBSERVERS`.
    """
    return fuse(detector, torch.float32, ObservedLayers(observer))


def calibrate(observed: QueryDetector, inputs: Iterable[Sequence[dict[str, Any]]]) -> int:
    """Run an observed detector on batches of Detectron2's dicts, and return the number of images."""
    count = 0
    with torch.inference_mode():
        for batch in inputs:
            observed(batch)
            count += len(batch)
    return count


def is_in_8_bit(model: nn.Module) -> bool:
    """Return whether a model has layers that compute in 8 bit."""
    return any(isinstance(module, QuantizedLinear | QuantizedConv2d) for module in model.modules())


def observed_layers(model: nn.Module) -> dict[str, Observed]:
    """Return the observed layers of a model by name; one that has several names by the first."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Observed)}


def make_codes(observed: QueryDetector, stay_float: Sequence[str] = FLOAT) -> dict[str, LayerCodes]:
    """Return the codes of all layers that compute in 8 bit.

    Args:
        observed: calibrated.
        stay_float: beginnings of the names of layers that do not.
    """
    layers = observed_layers(observed)
    kept = {name for name in layers if name.startswith(tuple(stay_float))}
    for names in _blocks(observed):
        kept |= names if names & kept else set()
    codes = {name: layer.codes() for name, layer in layers.items() if name not in kept}
    return {name: each for name, each in codes.items() if each is not None}


def convert(observed: QueryDetector, codes: Codes, dtype: torch.dtype) -> QueryDetector:
    """Exchange the layers of an observed detector, in place, and return it.

    Args:
        observed: from `observe`.
        codes: of the layers that compute in 8 bit; all others compute in floating point.
        dtype: float32 or bfloat16, of everything that does not compute in 8 bit.

    Raises:
        ValueError: the layers of a block do not understand each other's codes.
    """

    def make(name: str, layer: Observed) -> nn.Module:
        return layer.in_8_bit(codes[name], dtype) if name in codes else layer.in_float(dtype)

    _check_blocks(observed, codes)
    exchange_observed(observed, make)
    if dtype != torch.float32:
        observed.forward = InLowerPrecision(observed.forward, "cpu", dtype)  # type: ignore[method-assign]
    return observed


def exchange_observed(model: nn.Module, make: Callable[[str, Observed], nn.Module]) -> None:
    """Exchange the observed layers of a model, everywhere they stand.

    Args:
        model: changed in place.
        make: returns the new form of a layer, by its first name.
    """
    made = {id(layer): make(name, layer) for name, layer in observed_layers(model).items()}
    for module in list(model.modules()):
        for name, child in module._modules.items():
            if isinstance(child, Observed):
                module._modules[name] = made[id(child)]


def _blocks(observed: nn.Module) -> list[set[str]]:
    """Return the names of the layers of each block, which hand codes to each other."""
    names = observed_layers(observed)
    blocks = [name for name, module in observed.named_modules() if isinstance(module, FusedBlock)]
    return [{name for name in names if name.startswith(f"{block}.")} for block in blocks]


def _check_blocks(observed: nn.Module, codes: Codes) -> None:
    for names in _blocks(observed):
        first = [name for name in sorted(names) if name.endswith((".convolutions.0", ".shortcut"))]
        if names & set(codes) not in (set(), names) or len({codes[name].entry for name in first if name in codes}) > 1:
            raise ValueError(
                f"the layers {', '.join(sorted(names))} must be in 8 bit together, and read the same codes"
            )
