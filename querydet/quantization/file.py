"""Files of 8-bit detectors: codes, their scales, and the weights that stay numbers. No processor's layout is stored.

The names are those of the fused detector (`querydet.fusion`). A layer in 8 bit has `weight` (int8), `weight_scale`,
`bias`, and `entry` and `addend`, each a scale and a zero point.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from querydet import __version__
from querydet.checkpoint import load_weights
from querydet.checkpoint.mismatch import check_settings, describe_differences
from querydet.checkpoint.quantized import KEY, is_marked, is_quantized, mark
from querydet.checkpoint.reading import as_tensors, read_checkpoint
from querydet.checkpoint.seal import save_sealed
from querydet.checkpoint.settings import KEY as SETTINGS
from querydet.checkpoint.settings import read_settings, stored
from querydet.checkpoint.training_only import INFERENCE_ONLY, training_only_keys
from querydet.checkpoint.weights import check_finite
from querydet.fusion import Grid, can_fuse
from querydet.modeling.detector import QueryDetector
from querydet.quantization.detector import Codes, convert, observe, observed_layers
from querydet.quantization.layers import WEIGHT_MOST, LayerCodes
from querydet.quantization.support import check_support, float_type
from querydet.utils.atomic import atomic_write

VERSION = 1


def save_quantized(
    observed: QueryDetector, codes: Codes, path: str, class_names: Sequence[str], settings: Mapping[str, Any]
) -> None:
    """Write an 8-bit detector.

    Args:
        observed: the calibrated detector.
        codes: of the layers that compute in 8 bit.
        path: of the file.
        class_names: by class index.
        settings: what the codes were made with, plain values.
    """
    state = _float_state(observed)
    for name, layer in codes.items():
        state.update({f"{name}.{key}": value for key, value in _tensors_of(layer).items()})
    content = {
        "model": state,
        "class_names": list(class_names),
        INFERENCE_ONLY: True,
        SETTINGS: read_settings(observed),
        KEY: mark({"version": VERSION, "layers": sorted(codes), "querydet": str(__version__), **settings}),
    }
    with atomic_write(path) as file:
        save_sealed(content, file)


def load_quantized(model: nn.Module, path: str) -> tuple[QueryDetector, list[str]]:
    """Load an 8-bit detector.

    Args:
        model: built from its config, on a CPU; it stays as it is.
        path: of the file.

    Returns:
        The detector, which computes what is not in 8 bit in bfloat16 where the processor does, and the names of its
        classes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, of a later version or of another config, or this machine cannot run it.
    """
    content = read_checkpoint(path)
    names = _layer_names(content, path)
    check_support(path)
    if not can_fuse(model):
        raise ValueError(f"{path} holds a detector in 8 bit, which runs on a CPU: set the device to cpu")
    assert isinstance(model, QueryDetector)
    check_settings(model, stored(content, SETTINGS, {}), allow_mismatch=False)
    state = as_tensors(content.get("model", {}), path)
    check_finite(state, path)
    observed = observe(model)
    layers = observed_layers(observed)
    unknown = sorted(names - set(layers))
    if unknown:
        raise ValueError(f"{path} is of another config: its layer {unknown[0]} is no layer of this detector")
    codes = {}
    for name in sorted(names):
        own = {key: state.pop(f"{name}.{key}") for key in _KEYS if f"{name}.{key}" in state}
        codes[name] = _layer_of(own, layers[name].weight, f"{name} in {path}")
    _load_floats(observed, state, names, path)
    return convert(observed, codes, float_type()), list(stored(content, "class_names", []))


def load_detector(
    model: nn.Module, path: str, *, use_ema: bool = False, allow_mismatch: bool = False, allow_nonfinite: bool = False
) -> tuple[Any, list[str]]:
    """Load weights for detection: those of a checkpoint, or an 8-bit detector.

    Args:
        model: built from its config.
        path: of the file.
        use_ema: see `querydet.checkpoint.load_weights`, as for all others.
        allow_mismatch: see there; not for 8-bit detectors.
        allow_nonfinite: see there; not for 8-bit detectors.

    Returns:
        The detector, `model` itself or its form in 8 bit, and the names of its classes, if the file has some.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or does not fit the model.
    """
    if is_quantized(path):
        return load_quantized(model, path)
    options = {"use_ema": use_ema, "allow_mismatch": allow_mismatch, "allow_nonfinite": allow_nonfinite}
    return model, load_weights(model, path, **options)


_KEYS = ("weight", "weight_scale", "bias", "entry", "addend")


def _float_state(observed: QueryDetector) -> dict[str, Tensor]:
    left_out = training_only_keys(observed)
    state = observed.state_dict()
    return {name: value.detach().clone() for name, value in state.items() if name not in left_out}


def _tensors_of(layer: LayerCodes) -> dict[str, Tensor]:
    tensors = {"weight": layer.weight, "weight_scale": layer.weight_scale}
    if layer.bias is not None:
        tensors["bias"] = layer.bias.detach()
    for name, grid in (("entry", layer.entry), ("addend", layer.addend)):
        if grid is not None:
            tensors[name] = torch.tensor([grid.scale, grid.zero_point], dtype=torch.float64)
    return tensors


def _layer_names(content: Mapping[str, Any], path: str) -> set[str]:
    """Return the names of the layers in 8 bit.

    Raises:
        ValueError: this is no file of an 8-bit detector, or one of a later version.
    """
    if not is_marked(content):
        raise ValueError(f"{path} holds no detector in 8 bit: make one with querydet quantize")
    settings = content[KEY]
    if settings.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {settings.get('version')!r} of 8-bit detectors, this querydet reads {VERSION}: make "
            "the file again with querydet quantize, or install the querydet that made it"
        )
    names = settings.get("layers")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} is damaged: it does not name its layers in 8 bit. Make it again")
    return set(names)


def _layer_of(tensors: Mapping[str, Tensor], weight: Tensor, name: str) -> LayerCodes:
    """Put a layer together.

    Raises:
        ValueError: a tensor is missing, or of another shape or type than the layer of this detector has.
    """
    wanted = {
        "weight": (tuple(weight.shape), torch.int8),
        "weight_scale": ((len(weight),), torch.float32),
        "entry": ((2,), torch.float64),
    }
    optional = {"bias": ((len(weight),), torch.float32), "addend": ((2,), torch.float64)}
    for key, expected in {**wanted, **{key: optional[key] for key in optional if key in tensors}}.items():
        found = tensors.get(key)
        if found is None or (tuple(found.shape), found.dtype) != expected:
            what = "missing" if found is None else f"{found.dtype} of shape {tuple(found.shape)}"
            raise ValueError(f"{key} of {name} is {what} instead of {expected[1]} of shape {expected[0]}")
    if int(tensors["weight"].amin()) < -WEIGHT_MOST or not bool((tensors["weight_scale"] > 0).all()):
        raise ValueError(f"the codes of {name} are below -{WEIGHT_MOST}, or a scale is not positive: make it again")
    addend = _grid_of(tensors["addend"], name) if "addend" in tensors else None
    bias = tensors.get("bias")
    return LayerCodes(tensors["weight"], tensors["weight_scale"], bias, _grid_of(tensors["entry"], name), addend)


def _grid_of(pair: Tensor, name: str) -> Grid:
    scale, zero_point = pair.tolist()
    if not (scale > 0 and math.isfinite(scale) and zero_point in range(256)):
        raise ValueError(f"the scale {scale} and zero point {zero_point} of {name} are no codes: make it again")
    return Grid(scale, int(zero_point))


def _load_floats(observed: QueryDetector, state: Mapping[str, Tensor], names: set[str], path: str) -> None:
    """Load what is not in 8 bit.

    Raises:
        ValueError: names or shapes are not those of the detector.
    """
    own = observed.state_dict()
    in_codes = {f"{name}.{key}" for name in names for key in _KEYS}
    wanted = set(own) - in_codes - training_only_keys(observed)
    text = describe_differences(
        [
            (key, state[key].shape, own[key].shape)
            for key in sorted(wanted & set(state))
            if state[key].shape != own[key].shape
        ],
        sorted(wanted - set(state)),
        sorted(set(state) - set(own)),
    )
    if text:
        raise ValueError(f"{path} is of another config\n{text}")
    observed.load_state_dict(dict(state), strict=False)
