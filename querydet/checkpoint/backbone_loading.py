"""Published files of backbones, loaded into the backbone of a detector."""

import logging
from collections.abc import Mapping
from typing import Any

from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from torch import Tensor, nn

from querydet.checkpoint.conversion.backbone_files import BACKBONE, network_prefix, place_backbone

logger = logging.getLogger(__name__)


def align_backbone(model: nn.Module, checkpoint: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Give the weights of a published backbone the names of a detector.

    A known layout has rules. Where there are none, and the file asks for it, Detectron2 searches for names of equal
    ends.

    Args:
        model: the detector.
        checkpoint: content of the file, with its weights under "model".

    Returns:
        The content with weights of these names, and whether it was such a file.

    Raises:
        ValueError: the file is of another architecture.
    """
    heuristics = bool(checkpoint.pop("matching_heuristics", False))
    state = find_backbone_weights(model, checkpoint["model"], own_names=not heuristics)
    if state is None and heuristics:
        caffe2 = checkpoint.get("__author__") == "Caffe2"
        state = align_and_update_state_dicts(model.state_dict(), checkpoint["model"], c2_conversion=caffe2)
    return (checkpoint, False) if state is None else ({**checkpoint, "model": state}, True)


def find_backbone_weights(
    model: nn.Module, state: Mapping[str, Tensor], own_names: bool = True
) -> dict[str, Tensor] | None:
    """Give the weights of a file the names of a detector, if it is a published file of the detector's backbone.

    Args:
        model: the detector.
        state: weights of the file.
        own_names: whether the names may be those of the detector's backbone, without rules.

    Returns:
        The weights; None for a file of a detector, or of a layout without rules.

    Raises:
        ValueError: the file is of another architecture.
    """
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module) or any(name in model.state_dict() for name in state):
        return None
    if any(name.startswith(BACKBONE) for name in state):
        return None
    placed = place_backbone(state, backbone.state_dict(), network_prefix(backbone), own_names)
    if placed is None:
        return None
    logger.info("Backbone: %s", placed.describe())
    return {BACKBONE + name: value for name, value in placed.state.items()}
