"""Levels of a token pyramid as maps, and the backbone maps that mask heads read."""

from collections.abc import Mapping

import torch
from torch import Tensor

from querydet.structures import TokenPyramid


def level_rows(features: TokenPyramid, level: int) -> slice:
    """Return the tokens of a level; negative levels count from the coarsest."""
    sizes = features.level_sizes
    level %= len(sizes)
    start = sum(sizes[:level])
    return slice(start, start + sizes[level])


def level_map(features: TokenPyramid, tokens: Tensor, level: int, ignore_padding: bool) -> Tensor:
    """Return a level of tokens (B, S, C) as a map (B, C, H, W).

    Args:
        features: the pyramid that they belong to.
        tokens: (B, S, C).
        level: index of the level; negative ones count from the coarsest.
        ignore_padding: whether padding becomes zero.
    """
    rows = level_rows(features, level)
    values = tokens[:, rows]
    if ignore_padding:
        values = values.masked_fill(features.padding[:, rows, None], 0)
    return values.transpose(1, 2).unflatten(2, features.shapes[level])


def level_padding(features: TokenPyramid, level: int) -> Tensor:
    """Return the padding (B, H, W) of a level, True = padding."""
    return features.padding[:, level_rows(features, level)].unflatten(1, features.shapes[level])


def extend_border(values: Tensor, padding: Tensor) -> Tensor:
    """Continue maps (B, C, H, W) into their padding, with the last row and column of the image.

    So an interpolation finds at this border what it finds at the border of a map without padding.

    Args:
        values: maps of images in the top left corner.
        padding: (B, H, W) bool, True = padding.
    """
    for dim, image in ((2, ~padding[:, :, 0]), (3, ~padding[:, 0])):
        positions = torch.arange(values.shape[dim], device=values.device)
        nearest = torch.minimum(positions, image.sum(1, keepdim=True) - 1).clamp(min=0)  # (B, H or W)
        index = nearest[:, None, :, None] if dim == 2 else nearest[:, None, None]
        values = values.gather(dim, index.expand(values.shape))
    return values


def only_map(in_channels: Mapping[str, int], part: str) -> tuple[str, int]:
    """Return the name and the channels of the only backbone map that a part reads.

    Raises:
        ValueError: there is another number of maps than one.
    """
    if len(in_channels) != 1:
        raise ValueError(f"{part} reads one backbone map, found {list(in_channels)} in in_channels: name one")
    ((name, channels),) = in_channels.items()
    return name, channels
