"""Attention level by level beside its formulas; which tokens count how, and what padding does to it."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from querydet.analysis.flops import count_module_flops
from querydet.modeling.layers.conditional_attention import ConditionalCrossAttention
from querydet.modeling.layers.levelwise_attention import LevelwiseCrossAttention, level_weights
from querydet.structures import TokenPyramid

HEADS, WIDTH, QUERIES = 2, 8, 4
SHAPES = ((3, 4), (2, 2), (1, 2))
SIZES = [12, 4, 2]


def memory(images: int = 1, shapes: tuple[tuple[int, int], ...] = SHAPES) -> TokenPyramid:
    """Random tokens of some levels; the last token of every level is padding."""
    sizes = [height * width for height, width in shapes]
    padding = torch.cat([torch.arange(size) == size - 1 for size in sizes])
    return TokenPyramid(
        tokens=torch.randn(images, sum(sizes), WIDTH),
        position=torch.randn(images, sum(sizes), WIDTH),
        padding=padding.repeat(images, 1),
        shapes=shapes,
        valid_ratios=torch.ones(images, len(shapes), 2),
    )


def inputs(images: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Contents, positions and embedded references of queries."""
    content, position, sine = torch.randn(3, images, QUERIES, WIDTH)
    return content, position, sine


def one_level(image: TokenPyramid, level: int) -> TokenPyramid:
    """A pyramid of one of the levels."""
    sizes = image.level_sizes
    return TokenPyramid(
        tokens=image.tokens.split(sizes, 1)[level],
        position=image.position.split(sizes, 1)[level],
        padding=image.padding.split(sizes, 1)[level],
        shapes=(image.shapes[level],),
        valid_ratios=image.valid_ratios[:, level : level + 1],
    )


def attention_of(levels: int, first: bool = True) -> LevelwiseCrossAttention:
    torch.manual_seed(0)
    return LevelwiseCrossAttention(WIDTH, HEADS, levels, first=first)


@pytest.mark.parametrize("first", [True, False])
@torch.no_grad()
def test_the_update_is_the_weighted_sum_of_attention_to_each_level(first: bool) -> None:
    attention, image, queries = attention_of(3, first), memory(2), inputs(2)
    plain = ConditionalCrossAttention(WIDTH, HEADS, first=first)
    plain.load_state_dict(attention.state_dict())
    scores = torch.randn(2, QUERIES, 3)
    alone = [plain(*queries, one_level(image, level)) for level in range(3)]  # each of them projected
    weights = scores.softmax(-1).unbind(-1)
    wanted = sum(weight[..., None] * result for weight, result in zip(weights, alone, strict=True))
    torch.testing.assert_close(attention(*queries, image, scores), wanted)


@torch.no_grad()
def test_one_level_is_conditional_attention_bit_by_bit() -> None:
    attention, image, queries = attention_of(1), memory(2, ((3, 5),)), inputs(2)
    plain = ConditionalCrossAttention(WIDTH, HEADS)
    plain.load_state_dict(attention.state_dict())
    found = attention(*queries, image, torch.randn(2, QUERIES, 1))
    assert torch.equal(found, plain(*queries, image))


@torch.no_grad()
def test_order_within_a_level_means_nothing_and_the_level_of_a_token_does() -> None:
    attention, image, queries = attention_of(3).double(), memory(), inputs()
    queries = tuple(values.double() for values in queries)
    image = replace(image, tokens=image.tokens.double(), position=image.position.double())
    scores = torch.randn(1, QUERIES, 3, dtype=torch.float64)
    before = attention(*queries, image, scores)
    order = torch.cat([torch.randperm(12), 12 + torch.randperm(4), 16 + torch.randperm(2)])
    torch.testing.assert_close(attention(*queries, permuted(image, order), scores), before)
    moved = torch.arange(18)
    moved[[0, 12]] = torch.tensor([12, 0])  # two visible tokens change places, and with them their levels
    assert not torch.allclose(attention(*queries, permuted(image, moved), scores), before)


def permuted(image: TokenPyramid, order: Tensor) -> TokenPyramid:
    return replace(
        image, tokens=image.tokens[:, order], position=image.position[:, order], padding=image.padding[:, order]
    )


@torch.no_grad()
def test_levels_count_by_their_weights_and_not_by_their_numbers_of_tokens() -> None:
    attention, image, queries = attention_of(2), memory(shapes=((4, 4), (1, 2))), inputs()
    twice = replace(
        image,
        tokens=torch.cat([image.tokens[:, :16], image.tokens], 1),
        position=torch.cat([image.position[:, :16], image.position], 1),
        padding=torch.cat([image.padding[:, :16], image.padding], 1),
        shapes=((8, 4), (1, 2)),
    )
    torch.testing.assert_close(attention(*queries, twice), attention(*queries, image))


def test_without_scores_levels_count_alike() -> None:
    attention, image, queries = attention_of(3), memory(), inputs()
    alike = attention(*queries, image, torch.full((1, QUERIES, 3), 7.0))
    torch.testing.assert_close(attention(*queries, image), alike)


def test_weights_add_up_to_one_and_a_level_of_padding_has_none() -> None:
    image = memory(2)
    image.padding[1, 12:16] = True
    scores = torch.randn(2, QUERIES, 3)
    weights = level_weights(scores, image)
    torch.testing.assert_close(weights[0], scores[0].softmax(-1))
    torch.testing.assert_close(weights[1, :, [0, 2]], scores[1, :, [0, 2]].softmax(-1))
    assert not weights[1, :, 1].any()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert not level_weights(scores.to(dtype), image)[1, :, 1].any()


def test_a_level_of_padding_changes_nothing_and_has_no_gradient() -> None:
    attention, image, queries = attention_of(3), memory(2), inputs(2)
    image.padding[1, 16:] = True
    image.tokens.requires_grad_()
    scores = torch.randn(2, QUERIES, 3, requires_grad=True)
    found = attention(*queries, image, scores)
    assert found.isfinite().all()
    found.square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert image.tokens.grad is not None
    assert torch.equal(image.tokens.grad.abs().sum(-1) > 0, ~image.padding)
    other = replace(image, tokens=image.tokens.detach().clone())
    other.tokens[1, 16:] = 1e3
    torch.testing.assert_close(attention(*queries, other, scores), found)


def test_every_level_is_counted_once() -> None:
    """Projections of 4 queries and 18 tokens, and in each level scores of 2 D numbers and mixtures of D, by hand."""
    count = count_module_flops(attention_of(3, first=False), *inputs(), *as_tensors(memory()))
    tokens, d = sum(SIZES), WIDTH // HEADS
    projections = WIDTH * WIDTH * (QUERIES * 3 + tokens * 3)  # content, sine, output; key, value, position
    mixed = HEADS * QUERIES * tokens * (2 * d + d)
    assert count.multiply_adds == projections + mixed


def as_tensors(image: TokenPyramid) -> tuple[TokenPyramid, ...]:
    """The pyramid as an input of a counted module, on the meta device."""
    return (_OnMeta(image),)


class _OnMeta:
    """Moves to a device as a tensor does."""

    def __init__(self, image: TokenPyramid) -> None:
        self.image = image

    def to(self, device: str) -> TokenPyramid:
        image = self.image
        return replace(
            image, tokens=image.tokens.to(device), position=image.position.to(device), padding=image.padding.to(device)
        )


def test_all_matrices_start_from_xavier_weights() -> None:
    for name, weight in LevelwiseCrossAttention(32, 4, 3).named_parameters():
        if weight.dim() == 2:
            bound = math.sqrt(6 / 64)
            assert 0.9 * bound < weight.abs().max() <= bound, name


def test_sizes_without_measure() -> None:
    with pytest.raises(ValueError, match="num_levels must be at least 1, found 0"):
        LevelwiseCrossAttention(8, 2, 0)
    with pytest.raises(ValueError, match="embed_dim 30 must be a multiple of num_heads 4"):
        LevelwiseCrossAttention(30, 4, 2)
