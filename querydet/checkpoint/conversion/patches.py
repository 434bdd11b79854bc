"""Positions and patches of vision transformers that were trained on other images or patches."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

RESIZABLE = {14: 16}  # sides of patches, as in Detectron2's copy of MAE's ViT-H


def fit_positions(table: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize a table of absolute positions by bicubic interpolation (Detectron2's ViT does the same to the image).

    Args:
        table: (1, rows, C): the rows of a square, behind one for the class token where their number says so.
        shape: of the result, with or without the row of a class token; a row that is missing is 0.

    Returns:
        The resized table; the same tensor where the rows of neither are those of a square, or the widths differ.
    """
    if table.dim() != 3 or len(shape) != 3 or table.shape[2] != shape[2] or table.shape[0] != 1:
        return table
    theirs, ours = _square(table.shape[1]), _square(shape[1])
    if theirs is None or ours is None:
        return table
    grid = table[:, table.shape[1] - theirs**2 :].unflatten(1, (theirs, theirs)).permute(0, 3, 1, 2)
    if theirs != ours:
        grid = F.interpolate(grid, size=(ours, ours), mode="bicubic", align_corners=False)
    rows = grid.flatten(2).transpose(1, 2)
    token = table[:, :1] if table.shape[1] > theirs**2 else torch.zeros_like(rows[:, :1])
    return torch.cat([token[:, : shape[1] - ours**2], rows], dim=1)


def fit_patches(filters: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize filters of patches of 14 pixels to 16 by bicubic interpolation, as the published ViT-H was.

    Args:
        filters: (C, 3, side, side).
        shape: of the result.

    Returns:
        The resized filters; the same tensor for any other sizes.
    """
    if filters.dim() != 4 or tuple(filters.shape[:2]) != tuple(shape[:2]):
        return filters
    if RESIZABLE.get(filters.shape[-1]) != shape[-1]:
        return filters
    return F.interpolate(filters, size=tuple(shape[2:]), mode="bicubic", align_corners=False)


def _square(rows: int) -> int | None:
    """Return the side of the square of all rows, or of all rows but one; None if there is none."""
    for count in (rows, rows - 1):
        if count > 0 and math.isqrt(count) ** 2 == count:
            return math.isqrt(count)
    return None
