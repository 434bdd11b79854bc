"""Settings that change the results of a detector and no shape: with wrong ones weights load, and AP is lost silently.

Converted files carry the settings that belong to their weights, and loading them into another model is refused.
"""

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from querydet.utils.texts import shown

KEY = "settings"  # in a checkpoint file
SETTINGS = {  # attribute of the detector: key of the config
    "neck.position_embedding.temperature": "model.neck.position_embedding.temperature",
    "neck.position_embedding.temperature_x": "model.neck.position_embedding.temperature_x",
    "neck.position_embedding.offset": "model.neck.position_embedding.offset",
    "decoder.position_embedding.temperature": "model.decoder.position_embedding.temperature",
    "decoder.position_embedding.temperature_x": "model.decoder.position_embedding.temperature_x",
    "decoder.position_embedding.offset": "model.decoder.position_embedding.offset",
    "heads.inverse_sigmoid_eps": "model.heads.inverse_sigmoid_eps",
    "decoder.refine_boxes": "model.decoder.refine_boxes",
    "decoder.layers.0.order": "model.decoder.layer.order",
    "decoder.layers.0.cross_attention.num_heads": "model.decoder.layer.num_heads",
    "encoder.layers.0.attention.num_heads": "model.encoder.layer.num_heads",
    "selection.objectness": "model.selection.objectness",
}


def read_settings(model: nn.Module) -> dict[str, Any]:
    """Return the settings of a detector as plain values, without those that it does not have."""
    found = {}
    for path in SETTINGS:
        value: Any = model
        for part in path.split("."):
            value = value[int(part)] if part.isdigit() else getattr(value, part, None)
            if value is None:
                break
        if value is not None:
            found[path] = list(value) if isinstance(value, tuple) else value
    return found


def setting_differences(model: nn.Module, settings: Mapping[str, Any]) -> list[str]:
    """Compare a detector with the settings of weights; return a line with the remedy for each difference."""
    own = read_settings(model)
    differences = []
    for path, wanted in settings.items():
        if path in own and not _equal(own[path], wanted):
            key = _config_key(model, path)
            text = shown(str(wanted))
            found = f"{key} is {own[path]} in the config, but the weights are of {text}"
            differences.append(f"{found}: set {key}={text}")
    return differences


def _equal(own: Any, wanted: Any) -> bool:
    """Compare a setting with that of a file, which may be anything."""
    if isinstance(own, list):
        wanted = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        return len(own) == len(wanted) and all(map(_equal, own, wanted))
    return isinstance(wanted, str | int | float) and bool(own == wanted)


def _config_key(model: nn.Module, path: str) -> str:
    """Return the key of a setting in the config, where groups of queries wrap their selection."""
    key = SETTINGS[path]
    if path.startswith("selection.") and getattr(model.selection, "selection", None) is not None:
        return key.replace("selection.", "selection.selection.")
    return key


def stored(content: Mapping[str, Any], key: str, default: Any) -> Any:
    """Return a value that a file holds besides its weights; in ``.safetensors`` it is JSON in the metadata.

    Raises:
        ValueError: it is not of the default's kind: a mapping by text, or a list of texts.
    """
    found = content.get(key, default)
    notes = content.get("metadata", {})
    if key not in content and isinstance(notes, Mapping) and key in notes:
        try:
            found = json.loads(notes[key])
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"the {key} in the checkpoint's metadata are no JSON") from error
    wanted = Mapping if isinstance(default, Mapping) else list | tuple
    if not isinstance(found, wanted) or not all(isinstance(item, str) and item.isprintable() for item in found):
        raise ValueError(
            f"the {key} in the checkpoint are a {type(found).__name__} that is not made of printable texts"
        )
    return found
