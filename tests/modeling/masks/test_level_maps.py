"""Levels of tokens as maps, by hand."""

import pytest
import torch

from querydet.modeling.masks.level_maps import extend_border, level_map, level_padding, level_rows, only_map
from querydet.structures import TokenPyramid


def pyramid() -> TokenPyramid:
    """Levels of 2x3 and 1x2 tokens, numbered; the last column of each is padding."""
    padding = torch.tensor([[False, False, True, False, False, True, False, True]])
    tokens = torch.arange(8.0)[None, :, None].expand(-1, -1, 2)
    return TokenPyramid(tokens, torch.zeros_like(tokens), padding, ((2, 3), (1, 2)), torch.ones(1, 2, 2))


def test_rows_of_levels_count_from_both_ends() -> None:
    assert level_rows(pyramid(), 0) == level_rows(pyramid(), -2) == slice(0, 6)
    assert level_rows(pyramid(), 1) == level_rows(pyramid(), -1) == slice(6, 8)


def test_a_level_as_a_map() -> None:
    memory = pyramid()
    found = level_map(memory, memory.tokens, 0, ignore_padding=False)
    assert found.shape == (1, 2, 2, 3)
    assert found[0, 1].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert level_map(memory, memory.tokens, 0, ignore_padding=True)[0, 0].tolist() == [[0, 1, 0], [3, 4, 0]]
    assert level_map(memory, memory.tokens, -1, ignore_padding=True)[0, 0].tolist() == [[6, 0]]
    assert level_padding(memory, 0)[0].tolist() == [[False, False, True]] * 2


def test_the_border_of_an_image_goes_on_in_its_padding() -> None:
    values = torch.arange(24.0).view(2, 1, 3, 4)
    padding = torch.ones(2, 3, 4, dtype=torch.bool)
    padding[0, :2, :3] = False
    padding[1, :3, :1] = False
    found = extend_border(values, padding)
    assert found[0, 0].tolist() == [[0, 1, 2, 2], [4, 5, 6, 6], [4, 5, 6, 6]]
    assert found[1, 0].tolist() == [[12] * 4, [16] * 4, [20] * 4]
    assert torch.equal(extend_border(values, torch.zeros_like(padding)), values)
    assert extend_border(values, torch.ones_like(padding)).isfinite().all()


def test_one_map() -> None:
    assert only_map({"res2": 256}, "PixelEmbedding") == ("res2", 256)
    for maps in ({}, {"res2": 256, "res3": 512}):
        with pytest.raises(ValueError, match=r"PixelEmbedding reads one backbone map, found .* name one"):
            only_map(maps, "PixelEmbedding")
