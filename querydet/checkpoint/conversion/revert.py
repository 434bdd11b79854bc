"""Conversion of our names back to the official ones, for some methods."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from querydet.checkpoint.conversion.convert import find_counts
from querydet.checkpoint.conversion.families import OFFICIAL_LEVELWISE
from querydet.checkpoint.conversion.methods import find_method
from querydet.checkpoint.conversion.names import OFFICIAL, Sizes
from querydet.checkpoint.conversion.parts import check_own_attentions

LEVELWISE = "dn_deformable_encoder"
METHODS = ("dino", "deformable_detr", "deformable_detr_plain", "deformable_detr_refine", "dac_detr", LEVELWISE)
# heads that the official decoder of a method stores too
IN_DECODER = {
    "dino": ("class_embed.", "bbox_embed."),
    "deformable_detr": ("class_embed.", "bbox_embed."),
    "deformable_detr_refine": ("bbox_embed.",),
    "dac_detr": ("class_embed.", "bbox_embed."),
}


def revert_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our weights to the official names, with every copy that the official code stores.

    Args:
        state: weights under our names, of DINO, of Deformable DETR with or without refinement and first stage, of
            DAC-DETR with denoising, or of DN-DETR with a deformable encoder and a decoder with standard attention.

    Returns:
        Weights under official names; those of shared heads are the same tensor.

    Raises:
        ValueError: the weights belong to another method, or one of them has no official name, such as those of an MLP
            that replaces an attention.
    """
    method = find_method(state, {})
    if method not in METHODS:
        raise ValueError(f"these weights are of {method}; the way back exists for {', '.join(METHODS)}")
    if method == LEVELWISE:
        return _revert_levelwise(state)
    check_own_attentions(state)
    sizes = find_counts(state, dino=method == "dino")
    official: dict[str, Tensor] = {}
    for name, value in state.items():
        for copy in _heads(name, state, sizes):
            theirs = OFFICIAL.their_name(copy, sizes)
            if theirs is None:
                raise ValueError(f"{name} has no place in the official layout")
            official[theirs] = value
    for name in list(official):
        if name.startswith(IN_DECODER.get(method, ())):
            alias = re.sub(r"^(class|bbox)_embed\.", r"transformer.decoder.\1_embed.", name)
            official[alias] = official[name]
    return official


def _revert_levelwise(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of DN-DETR, whose label table has the shared content of the matching queries as its last row.

    Raises:
        ValueError: a weight has no official name.
    """
    labels, content = "denoising.label_embed.weight", "selection.content.weight"
    known = state[labels][: len(state["heads.class_heads.0.weight"])]  # without rows that no label has
    joined = {**state, labels: torch.cat([known, state[content]])}
    del joined[content]
    sizes = find_counts(state, dino=False)
    official: dict[str, Tensor] = {}
    for name, value in joined.items():
        theirs = OFFICIAL_LEVELWISE.their_name(name, sizes)
        if theirs is None:
            raise ValueError(f"{name} has no place in the official layout")
        official[theirs] = value
        if theirs.startswith("bbox_embed."):
            official[f"transformer.decoder.{theirs}"] = value
    return official


def _heads(name: str, state: Mapping[str, Tensor], sizes: Sizes) -> list[str]:
    """Repeat the name of a head that all layers share for each of them; return any other name unchanged."""
    shared = re.fullmatch(r"heads\.(class|box)_heads\.0\.(.+)", name)
    if shared is None or f"heads.{shared[1]}_heads.1.{shared[2]}" in state:
        return [name]
    return [f"heads.{shared[1]}_heads.{layer}.{shared[2]}" for layer in range(sizes.num_layers)]
