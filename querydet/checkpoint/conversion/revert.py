"""Conversion of our names back to the official ones, for some methods."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from querydet.checkpoint.conversion.convert import find_counts
from querydet.checkpoint.conversion.families import OFFICIAL_DETR, OFFICIAL_LEVELWISE, OFFICIAL_MASKS
from querydet.checkpoint.conversion.level_order import reverse_levels
from querydet.checkpoint.conversion.mask_families import DETECTOR, MASK2FORMER
from querydet.checkpoint.conversion.methods import CONTENT, NUM_HEADS, POSITION, find_method
from querydet.checkpoint.conversion.names import OFFICIAL, Family, Sizes
from querydet.checkpoint.conversion.parts import check_own_attentions

LEVELWISE = "dn_deformable_encoder"
MASK2FORMERS = ("mask2former", "group_mask2former")
IN_DECODER = {  # heads that the official decoder of a method stores too
    "dino": ("class_embed.", "bbox_embed."),
    "deformable_detr": ("class_embed.", "bbox_embed."),
    "deformable_detr_plain": (),
    "deformable_detr_refine": ("bbox_embed.",),
    "dac_detr": ("class_embed.", "bbox_embed."),
    "ms_detr": ("class_embed.", "bbox_embed."),
    "ms_detr_pp": ("class_embed.", "bbox_embed."),
}
METHODS = (*IN_DECODER, LEVELWISE, "detr", *MASK2FORMERS)


def revert_state_dict(state: Mapping[str, Tensor], num_heads: int | None = None) -> dict[str, Tensor]:
    """Rename our weights to the official names, with every copy that the official code stores.

    Args:
        state: weights under our names, of one of `METHODS`, with or without the mask head of DETR.
        num_heads: of the encoder's attention, by which the weights of Mask2Former are ordered; None: as released.

    Returns:
        Weights under official names; those of shared heads are the same tensor.

    Raises:
        ValueError: the weights belong to another method, or one of them has no official name, such as those of an MLP
            that replaces an attention.
    """
    method = find_method(state, {})
    if method not in METHODS:
        raise ValueError(f"these weights are of {method}; the way back exists for {', '.join(METHODS)}")
    if method in MASK2FORMERS:
        return _revert_mask2former(state, num_heads or NUM_HEADS)
    detector = {name: value for name, value in state.items() if not name.startswith("masks.")}
    official = _revert_detector(detector, method)
    if len(detector) == len(state):
        return official
    head = {name: value for name, value in state.items() if name not in detector}
    prefixed = {DETECTOR + name: value for name, value in official.items()}
    return prefixed | _renamed(head, OFFICIAL_MASKS, find_counts(state, dino=False))


def _revert_detector(state: Mapping[str, Tensor], method: str) -> dict[str, Tensor]:
    if method == LEVELWISE:
        return _revert_levelwise(state)
    if method == "detr":
        return _renamed(state, OFFICIAL_DETR, find_counts(state, dino=False))
    check_own_attentions(state)
    sizes = find_counts(state, dino=method == "dino")
    copies = {copy: value for name, value in state.items() for copy in _heads(name, state, sizes)}
    official = _renamed(copies, OFFICIAL, sizes)
    for name in list(official):
        if name.startswith(IN_DECODER[method]):
            alias = re.sub(r"^(class|bbox)_embed\.", r"transformer.decoder.\1_embed.", name)
            official[alias] = official[name]
    return official


def _renamed(state: Mapping[str, Tensor], family: Family, sizes: Sizes) -> dict[str, Tensor]:
    """Give weights the main names of a family.

    Raises:
        ValueError: a weight has none.
    """
    official: dict[str, Tensor] = {}
    for name, value in state.items():
        theirs = family.their_name(name, sizes)
        if theirs is None:
            raise ValueError(f"{name} has no place in the {family.name} layout")
        official[theirs] = value
    return official


def _revert_mask2former(state: Mapping[str, Tensor], num_heads: int) -> dict[str, Tensor]:
    """Rename the weights of Mask2Former, whose levels come from coarse to fine; tables of groups are joined.

    Raises:
        ValueError: a weight has no official name.
    """
    sizes = find_counts(state, dino=False)
    joined = {name: value for name, value in state.items() if not name.startswith("selection.extra_")}
    for table, extra in ((CONTENT, "extra_contents"), (POSITION, "extra_positions")):
        further = [value for name, value in state.items() if name.startswith(f"selection.{extra}.")]
        joined[table] = torch.cat([state[table], *further])
    return _renamed(reverse_levels(joined, len(state["neck.level_embed"]), num_heads), MASK2FORMER, sizes)


def _revert_levelwise(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of DN-DETR, whose label table has the shared content of the matching queries as its last row.

    Raises:
        ValueError: a weight has no official name.
    """
    labels, content = "denoising.label_embed.weight", CONTENT
    known = state[labels][: len(state["heads.class_heads.0.weight"])]  # without rows that no label has
    joined = {**state, labels: torch.cat([known, state[content]])}
    del joined[content]
    official = _renamed(joined, OFFICIAL_LEVELWISE, find_counts(joined, dino=False))
    copies = {name: value for name, value in official.items() if name.startswith("bbox_embed.")}
    return official | {f"transformer.decoder.{name}": value for name, value in copies.items()}


def _heads(name: str, state: Mapping[str, Tensor], sizes: Sizes) -> list[str]:
    """Repeat the name of a head that all layers share for each of them; return any other name unchanged."""
    shared = re.fullmatch(r"heads\.(class|box)_heads\.0\.(.+)", name)
    if shared is None or f"heads.{shared[1]}_heads.1.{shared[2]}" in state:
        return [name]
    return [f"heads.{shared[1]}_heads.{layer}.{shared[2]}" for layer in range(sizes.num_layers)]
