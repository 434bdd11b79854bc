"""Choice of the mask branch of a config that fits converted weights."""

import copy
import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from querydet.checkpoint.conversion.convert import Conversion
from querydet.checkpoint.conversion.methods import has_attention_maps, is_mask2former
from querydet.config import get_config

PART = "common/models/masks/attention_map.py"
HEAD, LOSSES = "model.masks.head", "model.criterion.rules.decoder.losses"
_ADAPTER = re.compile(r"masks\.head\.adapters\.(\d+)\.")
_ADAPTERS, _HALVINGS = (f"masks.head.{name}.{{}}.weight" for name in ("adapters", "halvings"))


def count_maps(conversion: Conversion) -> int:
    """Return the number of backbone maps, up to the coarsest, that the neck and the mask head read."""
    state, count = conversion.state, max(1, conversion.sizes.num_maps)
    if is_mask2former(state):
        return count + 1  # the finest is read by the mask head only
    if not has_attention_maps(state):
        return count
    return max(count, _num_fine(conversion) + (not _halves(conversion)))


def mask_changes(conversion: Conversion, cfg: DictConfig, names: Sequence[str]) -> dict[str, Any]:
    """Return the changes of a config that the weights of a mask head ask for.

    Args:
        conversion: the converted weights.
        cfg: the config that is changed.
        names: names of the backbone maps, fine to coarse.

    Raises:
        ValueError: weights that the choice depends on are missing or have no such shape, or the backbone has too few
            maps.
    """
    if is_mask2former(conversion.state):
        return _of_pixels(conversion, names)
    return _of_attention_maps(conversion, cfg, names) if has_attention_maps(conversion.state) else {}


def _of_pixels(conversion: Conversion, names: Sequence[str]) -> dict[str, Any]:
    width = conversion.size_of("masks.head.pixel_embed.weight", 0)
    same = width == conversion.size_of("masks.head.pixel_embed.weight", 1)
    return {
        f"{HEAD}.in_channels": {names[0]: conversion.size_of("masks.head.lateral.weight", 1)},
        f"{HEAD}.mask_dim": None if same else width,
    }


def _of_attention_maps(conversion: Conversion, cfg: DictConfig, names: Sequence[str]) -> dict[str, Any]:
    """Set the head that the config has, or add one to it, with the losses without which it would not be trained."""
    count, halves = _num_fine(conversion), _halves(conversion)
    maps = [*reversed(names)][not halves :][:count]
    if len(maps) < count:
        raise ValueError(f"the mask head needs {count} backbone maps, but can have only {maps} of {list(names)}")
    source = _HALVINGS if halves else _ADAPTERS
    width = conversion.size_of("masks.head.attention.key.weight", 1)
    levels = conversion.state["neck.level_embed"].shape[0] if "neck.level_embed" in conversion.state else 1
    beyond = levels - max(1, conversion.sizes.num_maps)  # levels that no backbone map has
    values: dict[str, Any] = {
        "in_channels": {name: conversion.size_of(source.format(n), 1) for n, name in enumerate(maps)},
        "num_heads": conversion.size_of("masks.head.coarse_stages.0.conv.weight", 0) - width,
        "level": -1 if halves else -1 - beyond,
        "halve": halves,
    }
    if OmegaConf.select(cfg, "model.masks") is not None:
        return {f"{HEAD}.{key}": value for key, value in values.items()}
    part = get_config(PART)
    part.masks.head.update({**values, "embed_dim": width})
    losses = copy.deepcopy(OmegaConf.select(cfg, LOSSES))
    losses.update(part.losses)
    return {"model.masks": part.masks, LOSSES: losses}


def _num_fine(conversion: Conversion) -> int:
    numbers = [int(match[1]) for name in conversion.state if (match := _ADAPTER.match(name))]
    return 1 + max(numbers, default=-1)


def _halves(conversion: Conversion) -> bool:
    return _HALVINGS.format(0) in conversion.state
