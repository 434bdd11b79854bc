"""Levels from coarse to fine become levels from fine to coarse."""

import pytest
import torch
from detectron2.config import instantiate

from querydet.checkpoint.conversion.level_order import reverse_levels
from querydet.structures import TokenPyramid
from tests.models import tiny_config

WEIGHTS = "encoder.layers.1.attention.attention_weights.bias"
OFFSETS = "encoder.layers.0.attention.sampling_offsets.weight"


def test_rows_of_each_head_are_reversed_level_by_level():
    state = {WEIGHTS: torch.arange(12), OFFSETS: torch.arange(24).view(24, 1)}  # 2 heads, 3 levels, 2 points
    found = reverse_levels(state, num_levels=3, num_heads=2)
    assert found[WEIGHTS].tolist() == [4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7]
    first_head = [8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3]
    assert found[OFFSETS].flatten().tolist() == [*first_head, *(row + 12 for row in first_head)]


def test_embeddings_of_levels_are_reversed_and_nothing_else():
    names = ("neck.level_embed", "decoder.level_embed.weight", "decoder.norm.weight")
    found = reverse_levels({name: torch.tensor([[1.0], [2], [3]]) for name in names}, 3, 8)
    assert [value.flatten().tolist() for value in found.values()] == [[3, 2, 1], [3, 2, 1], [1, 2, 3]]


def test_reversed_twice_is_unchanged():
    state = {OFFSETS: torch.randn(8 * 3 * 4 * 2, 5), "neck.level_embed": torch.randn(3, 5)}
    again = reverse_levels(reverse_levels(state, 3, 8), 3, 8)
    assert all(torch.equal(again[name], value) for name, value in state.items())


@pytest.mark.parametrize("value", [torch.zeros(95), torch.tensor(1.0), torch.zeros(0)])
def test_rows_of_another_number_of_heads_are_refused(value):
    with pytest.raises(ValueError, match=r"attention weights cannot be those of 8 heads and 3 levels.*--num-heads"):
        reverse_levels({WEIGHTS: value}, 3, 8)


@torch.no_grad()
def test_an_encoder_with_reversed_weights_encodes_reversed_levels():
    torch.manual_seed(0)
    encoder = instantiate(tiny_config("mask2former")).encoder.eval()
    for value in encoder.parameters():
        value.normal_(std=0.2)
    shapes = ((8, 12), (4, 6), (2, 3))
    maps = [torch.randn(1, height * width, 32) for height, width in shapes]
    positions = [torch.randn(1, height * width, 32) for height, width in shapes]
    found = encoder(pyramid(maps, positions, shapes)).tokens
    reversed_state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    reversed_state = reverse_levels(reversed_state, 3, 4)
    encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in reversed_state.items()})
    other = encoder(pyramid(maps[::-1], positions[::-1], shapes[::-1])).tokens
    sizes = [height * width for height, width in shapes]
    back = torch.cat(other.split(sizes[::-1], 1)[::-1], 1)
    torch.testing.assert_close(back, found, atol=1e-5, rtol=1e-5)


def pyramid(maps, positions, shapes):
    tokens = torch.cat(maps, 1)
    return TokenPyramid(
        tokens=tokens,
        position=torch.cat(positions, 1),
        padding=torch.zeros(tokens.shape[:2], dtype=torch.bool),
        shapes=tuple(shapes),
        valid_ratios=torch.ones(1, len(shapes), 2),
    )
