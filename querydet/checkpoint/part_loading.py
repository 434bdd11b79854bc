"""Some parts of a model from a checkpoint, while everything else keeps its initial weights: ``train.init_parts``."""

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from querydet.utils.model_parts import named_parts

logger = logging.getLogger(__name__)

OPTION = "train.init_parts"


def parts_to_load(model: nn.Module, names: Iterable[str] | None, path: str) -> tuple[str, ...]:
    """Return the names of the parts to load, checked before anything is read.

    Args:
        model: its attributes are the parts.
        names: a list of names; None: none.
        path: of the file to load them from.

    Raises:
        ValueError: the model has no such part, or there is no file.
    """
    parts = tuple(named_parts(model, names, OPTION))
    if parts and not path:
        raise ValueError(
            f"{OPTION} names {', '.join(parts)}, but there is no file to load them from: set train.init_checkpoint, or "
            f"{OPTION}=[]"
        )
    return parts


def of_parts(names: Iterable[str], parts: Collection[str]) -> list[str]:
    """Return the names of weights or settings that belong to some parts; without parts, all of them."""
    return [name for name in names if not parts or name.partition(".")[0] in parts]


def settings_of_parts(settings: Mapping[str, Any], parts: Collection[str]) -> dict[str, Any]:
    """Return the settings of a file that belong to some parts; without parts, all of them."""
    return {name: settings[name] for name in of_parts(settings, parts)}


def weights_of_parts(model: nn.Module, state: Mapping[str, Tensor], parts: Collection[str]) -> dict[str, Tensor]:
    """Return the weights of a file that belong to some parts of a model; without parts, all of them.

    Args:
        model: its attributes are the parts.
        state: weights of the file, under the names of the model.
        parts: names of the parts.

    Raises:
        ValueError: the model has no such part, or the file has no weights of it.
    """
    kept = {name: state[name] for name in of_parts(state, parts)}
    for name, part in named_parts(model, parts, OPTION).items():
        if part.state_dict() and not of_parts(kept, [name]):
            found = ", ".join(sorted({key.partition(".")[0] for key in state})) or "nothing"
            raise ValueError(f"{OPTION} names {name!r}, but the file has no weights of it; its parts are {found}")
    if parts:
        logger.info("%s: only %s of the checkpoint is loaded, %d tensors", OPTION, ", ".join(parts), len(kept))
    return kept
