"""From our names back to the official ones, for DINO and Deformable DETR."""

import re
from collections.abc import Mapping

from torch import Tensor

from querydet.checkpoint.conversion.convert import find_counts
from querydet.checkpoint.conversion.methods import find_method
from querydet.checkpoint.conversion.names import OFFICIAL, Sizes

METHODS = ("dino", "deformable_detr", "deformable_detr_plain", "deformable_detr_refine")


def revert_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official names of our weights, with every copy that the official code keeps.

    Args:
        state: our names, of DINO or of Deformable DETR with or without refinement and first stage.

    Returns:
        Official names; those of shared heads hold the same tensor.

    Raises:
        ValueError: the weights are of another method, or one of them has no official name.
    """
    method = find_method(state, {})
    if method not in METHODS:
        raise ValueError(f"these weights are of {method}; the way back exists for {', '.join(METHODS)}")
    sizes = find_counts(state, dino=method == "dino")
    official: dict[str, Tensor] = {}
    for name, value in state.items():
        for copy in _heads(name, state, sizes):
            theirs = OFFICIAL.their_name(copy, sizes)
            if theirs is None:
                raise ValueError(f"{name} has no place in the official layout")
            official[theirs] = value
    for name in list(official):
        if method == "dino" or _in_decoder(name, method):
            alias = re.sub(r"^(class|bbox)_embed\.", r"transformer.decoder.\1_embed.", name)
            official[alias] = official[name]
    return official


def _in_decoder(name: str, method: str) -> bool:
    """Which heads the official Deformable DETR also hands to its decoder."""
    kinds = {"deformable_detr": ("class_embed.", "bbox_embed."), "deformable_detr_refine": ("bbox_embed.",)}
    return name.startswith(kinds.get(method, ("nothing",)))


def _heads(name: str, state: Mapping[str, Tensor], sizes: Sizes) -> list[str]:
    """A head that all layers share, once for each of them; any other name as it is."""
    shared = re.fullmatch(r"heads\.(class|box)_heads\.0\.(.+)", name)
    if shared is None or f"heads.{shared[1]}_heads.1.{shared[2]}" in state:
        return [name]
    return [f"heads.{shared[1]}_heads.{layer}.{shared[2]}" for layer in range(sizes.num_layers)]
