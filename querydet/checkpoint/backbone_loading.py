"""Published files of backbones, loaded into the backbone of a detector."""

import logging
from collections.abc import Mapping
from typing import Any

from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from torch import Tensor, nn

from querydet.checkpoint.conversion.backbone_files import BACKBONE, network_prefix, place_backbone

logger = logging.getLogger(__name__)


def align_backbone(model: nn.Module, checkpoint: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Give the weights of a backbone a detector's names: by a rule, else as Detectron2 does where the file asks for it.

    Args:
        model: the detector.
        checkpoint: content of a file; its request for Detectron2's way is taken out.

    Returns:
        The checkpoint, and whether its names were changed.

    Raises:
        ValueError: the file is of another architecture.
    """
    heuristics = bool(checkpoint.pop("matching_heuristics", False))
    placed = find_backbone_weights(model, checkpoint["model"])
    if placed is None and heuristics:
        caffe2 = checkpoint.get("__author__") == "Caffe2"
        placed = align_and_update_state_dicts(model.state_dict(), checkpoint["model"], c2_conversion=caffe2)
    return (checkpoint, False) if placed is None else ({**checkpoint, "model": placed}, True)


def find_backbone_weights(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Give the weights of a file the names of a detector, if it is a published file of the detector's backbone.

    Args:
        model: the detector.
        state: weights of the file.

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
    placed = place_backbone(state, backbone.state_dict(), network_prefix(backbone))
    if placed is None:
        return None
    logger.info("Backbone: %s", placed.describe())
    return {BACKBONE + name: value for name, value in placed.state.items()}
