"""Conditional attention beside its formulas, one head after the other; whom it sees, and what padding does to it."""

import math

import pytest
import torch
from torch import Tensor

from querydet.modeling.layers.conditional_attention import ConditionalCrossAttention, ConditionalSelfAttention
from querydet.structures import TokenPyramid

HEADS = 2


def mix(query: list[Tensor], key: list[Tensor], value: Tensor, visible: Tensor) -> Tensor:
    """Softmax attention of one image, head by head: the parts of queries and keys lie side by side in a head."""
    mixed = []
    for head in range(HEADS):
        q, k = (torch.cat([part.chunk(HEADS, -1)[head] for part in parts], -1) for parts in (query, key))
        scores = (q @ k.T / math.sqrt(q.shape[-1])).masked_fill(~visible, -math.inf)
        mixed.append(scores.softmax(-1) @ value.chunk(HEADS, -1)[head])
    return torch.cat(mixed, -1)


def memory(images: int = 1, tokens: int = 6) -> TokenPyramid:
    padding = torch.zeros(images, tokens, dtype=torch.bool)
    padding[:, -2:] = True
    return TokenPyramid(
        tokens=torch.randn(images, tokens, 8),
        position=torch.randn(images, tokens, 8),
        padding=padding,
        shapes=((1, tokens),),
        valid_ratios=torch.ones(images, 1, 2),
    )


@pytest.mark.parametrize("masked", [False, True])
def test_queries_attend_by_contents_plus_positions(masked: bool) -> None:
    torch.manual_seed(0)
    attention = ConditionalSelfAttention(8, HEADS)
    position, content = torch.randn(2, 1, 5, 8)
    blocked = torch.rand(5, 5) > 0.5 if masked else torch.zeros(5, 5, dtype=torch.bool)
    blocked.fill_diagonal_(False)
    query = attention.query_content(content[0]) + attention.query_position(position[0])
    key = attention.key_content(content[0]) + attention.key_position(position[0])
    wanted = attention.output(mix([query], [key], attention.value(content[0]), ~blocked))
    torch.testing.assert_close(attention(position, content, blocked if masked else None)[0], wanted)


@pytest.mark.parametrize("first", [True, False])
def test_tokens_are_compared_by_contents_and_positions_side_by_side(first: bool) -> None:
    torch.manual_seed(0)
    attention, tokens = ConditionalCrossAttention(8, HEADS, first=first), memory()
    content, position, sine = torch.randn(3, 1, 4, 8)
    query, key = attention.query_content(content[0]), attention.key_content(tokens.tokens[0])
    key_position = attention.key_position(tokens.position[0])
    if first:
        query, key = query + attention.query_position(position[0]), key + key_position
    visible = ~tokens.padding[0].expand(4, -1)
    mixed = mix([query, attention.query_sine(sine[0])], [key, key_position], attention.value(tokens.tokens[0]), visible)
    torch.testing.assert_close(attention(content, position, sine, tokens)[0], attention.output(mixed))


def test_only_in_the_first_layer_positions_of_queries_are_added_to_contents() -> None:
    torch.manual_seed(0)
    content, position, sine = torch.randn(3, 1, 4, 8)
    for first in (True, False):
        attention, tokens = ConditionalCrossAttention(8, HEADS, first=first), memory()
        one, other = attention(content, position, sine, tokens), attention(content, position + 1, sine, tokens)
        assert torch.equal(one, other) != first


def test_padding_gets_no_gradient() -> None:
    attention, tokens = ConditionalCrossAttention(8, HEADS), memory(images=2)
    tokens.tokens.requires_grad_()
    content, position, sine = torch.randn(3, 2, 4, 8)
    attention(content, position, sine, tokens).square().sum().backward()
    reached = tokens.tokens.grad.abs().sum(-1) > 0
    assert torch.equal(reached, ~tokens.padding)


@pytest.mark.parametrize("kind", [ConditionalSelfAttention, ConditionalCrossAttention])
def test_heads_divide_the_width(kind: type) -> None:
    with pytest.raises(ValueError, match="embed_dim 30 must be a multiple of num_heads 4"):
        kind(30, 4)


@pytest.mark.parametrize("kind", [ConditionalSelfAttention, ConditionalCrossAttention])
def test_all_projections_start_from_xavier_weights(kind: type) -> None:
    torch.manual_seed(0)
    for name, weight in kind(32, 4).named_parameters():
        if weight.dim() == 2:
            bound = math.sqrt(6 / 64)
            assert 0.9 * bound < weight.abs().max() <= bound, name
    assert not kind(32, 4).output.bias.any()
