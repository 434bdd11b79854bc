"""Differences between a checkpoint and a model: which are acceptable, and how the others are reported."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from querydet.checkpoint.conversion.backbone_files import BACKBONE, network_prefix
from querydet.checkpoint.settings import setting_differences

logger = logging.getLogger(__name__)

MAX_SHOWN = 30
PATTERNS = "patterns.weight"  # end of the names of tables of patterns
CONSTANTS = ("pixel_mean", "pixel_std")  # which Detectron2 does not ask a file for
RELATIVE_POSITIONS = ("rel_pos_h", "rel_pos_w")  # of Detectron2's ViT


def check_compatible(model: nn.Module, incompatible: Any, allow_mismatch: bool) -> None:
    """Refuse a checkpoint that does not cover the model exactly, or log which weights keep their initial values.

    Args:
        model: the model, the fitting weights already loaded.
        incompatible: fvcore's record with ``missing_keys, unexpected_keys, incorrect_shapes``.
        allow_mismatch: only log.

    Raises:
        ValueError: there are differences and they are not allowed.
    """
    differing = _shapes(incompatible)
    wrong = {key for key, _, _ in differing}
    missing = set(incompatible.missing_keys) - wrong
    text = describe_differences(differing, sorted(missing), incompatible.unexpected_keys)
    if not text:
        return
    if not allow_mismatch:
        raise ValueError(
            f"the checkpoint does not fit the model\n{text}\n  To fine-tune from it with other classes, queries, "
            "groups, levels or masks, set train.init_surgery=True. With train.init_allow_mismatch=True whatever fits "
            "by name and shape is loaded, and the rest is newly initialized."
        )
    if len(wrong) + len(missing) == len(model.state_dict()):
        raise ValueError(f"nothing in the checkpoint fits the model\n{text}")
    logger.warning("These weights are newly initialized, everything else was loaded from the checkpoint\n%s", text)


def check_fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str) -> None:
    """Refuse weights that are not exactly those of a model, without loading them.

    Args:
        state: weights of a file.
        own: state dict of the model.
        path: of the file, for messages.

    Raises:
        ValueError: names or shapes differ.
    """
    text = describe_differences(
        [
            (key, value.shape, own[key].shape)
            for key, value in state.items()
            if key in own and value.shape != own[key].shape
        ],
        [key for key in own if key not in state and not key.endswith(CONSTANTS)],
        [key for key in state if key not in own],
    )
    if text:
        raise ValueError(f"{path} does not fit the model\n{text}")


def fitting(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights whose names and shapes are those of a model."""
    return {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}


def describe_differences(
    shapes: Sequence[tuple[str, Any, Any]], missing: Sequence[str], unexpected: Sequence[str]
) -> str:
    """List what differs between a file and a model, by kind; "" when nothing does.

    Args:
        shapes: names, with the shape in the file and in the model.
        missing: names that only the model has.
        unexpected: names that only the file has.
    """
    parts = [
        _listing("of another shape", [f"{n}: {tuple(a)} in the file, {tuple(b)} in the model" for n, a, b in shapes]),
        _listing("missing in the file", sorted(missing)),
        _listing("in the file but not in the model", sorted(unexpected)),
        _remedy({name for name, _, _ in shapes}, missing, unexpected),
    ]
    return "\n".join(part for part in parts if part)


def _remedy(wrong: set[str], missing: Iterable[str], unexpected: Iterable[str]) -> str:
    """Return the setting that makes the model read the contents of the file's queries, if patterns are the reason."""
    for names, shared in ((missing, False), (unexpected, True)):
        tables = {name.replace("patterns.weight", "content.weight") for name in names if name.endswith(PATTERNS)}
        if tables & wrong:
            kind = "patterns and a shared content" if shared else "patterns alone"
            return f"  The file's queries start from {kind}: model.selection.shared_content={shared} reads them."
    return ""


def check_settings(model: nn.Module, settings: Mapping[str, Any], allow_mismatch: bool) -> None:
    """Refuse weights that belong to other settings than the model's, or warn of them.

    Args:
        model: the model.
        settings: settings of the weights (`querydet.checkpoint.settings`); empty where the file does not say.
        allow_mismatch: only log.

    Raises:
        ValueError: they differ, and that is not allowed.
    """
    lines = _listing("of another model", setting_differences(model, settings))
    if lines and not allow_mismatch:
        raise ValueError(f"the weights would load, and be misread\n{lines}")
    if lines:
        logger.warning("These weights were trained with other settings\n%s", lines)


def check_backbone(model: nn.Module, incompatible: Any) -> bool:
    """Return whether a file brought the whole backbone and nothing else.

    Vectors may be missing: Detectron2's Swin Transformer, for one, has norms that no classifier has. So may be the
    layers of a pyramid around a network, and a ViT's tables of relative positions, which published networks lack.

    Args:
        model: the model, the fitting weights already loaded.
        incompatible: fvcore's record.

    Returns:
        False when the file brought other parts of the model too.

    Raises:
        ValueError: matrices or filters of the backbone are missing.
    """
    state = model.state_dict()
    unloaded = set(incompatible.missing_keys) | {key for key, _, _ in _shapes(incompatible)}
    # Constants of the model such as pixel_mean are never missing and have no part in this.
    if any(key in dict(model.named_parameters()) and not key.startswith(BACKBONE) for key in set(state) - unloaded):
        return False
    missing = sorted(key for key in unloaded if key.startswith(BACKBONE))
    loaded = sum(key.startswith(BACKBONE) for key in set(state) - unloaded)
    inside = f"{BACKBONE}{network_prefix(getattr(model, 'backbone', None))}"
    required = [key for key in missing if key.startswith(inside) and not key.endswith(RELATIVE_POSITIONS)]
    if not loaded or any(state[key].dim() > 1 for key in required):
        raise ValueError(
            "the checkpoint holds the weights of a backbone, but not of this model's backbone\n"
            + _listing("missing in the file", missing)
        )
    logger.info(
        "Backbone: %d tensors loaded. The other %d tensors of the model are newly initialized", loaded, len(unloaded)
    )
    if missing or incompatible.unexpected_keys:
        logger.info(
            "Newly initialized in the backbone: %s\nNot used from the file: %s",
            ", ".join(missing) or "none",
            ", ".join(sorted(incompatible.unexpected_keys)) or "nothing",
        )
    return True


def _shapes(incompatible: Any) -> list[tuple[str, Any, Any]]:
    return list(incompatible.incorrect_shapes)


def _listing(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    shown = [f"    {line}" for line in lines[:MAX_SHOWN]]
    if len(lines) > MAX_SHOWN:
        shown.append(f"    and {len(lines) - MAX_SHOWN} more")
    return "\n".join([f"  {title}:", *shown])
