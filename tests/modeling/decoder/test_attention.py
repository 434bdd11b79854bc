"""The attentions of decoder layers: what they add, whom they see, and what they do not depend on."""

import pytest
import torch
from torch import Tensor, nn

from querydet.modeling.decoder.attention import (
    ClippedCrossAttention,
    ConditionalQueryAttention,
    ConditionalTokenAttention,
    CrossAttention,
    DeformableCrossAttention,
    SelfAttention,
)
from querydet.modeling.decoder.group_attention import AttentionPlan, plan_attention
from querydet.structures import QueryGroup
from tests.modeling.decoder.stacks import memory

AMONG_QUERIES = (SelfAttention, ConditionalQueryAttention)
TO_TOKENS = (CrossAttention, ConditionalTokenAttention, DeformableCrossAttention)


def make(kind: type) -> nn.Module:
    torch.manual_seed(0)
    attention = kind(32, 4, 1, 2) if kind is DeformableCrossAttention else kind(32, 4)
    if kind is DeformableCrossAttention:
        for part in (attention.sampling_offsets, attention.attention_weights):
            nn.init.normal_(part.weight)  # at the start they do not depend on the query
    return attention


def plan_of(*lengths: int) -> AttentionPlan:
    groups, start = [], 0
    for number, length in enumerate(lengths):
        groups.append(QueryGroup(f"group{number}", start, start + length))
        start += length
    return plan_attention(tuple(groups), torch.device("cpu"))


def reference_of(kind: type) -> Tensor | None:
    if kind is CrossAttention:
        return None
    return torch.rand(1, 6, 1, 4) if kind is DeformableCrossAttention else torch.randn(1, 6, 32)


@pytest.mark.parametrize("kind", AMONG_QUERIES)
@pytest.mark.parametrize("lengths", [(3, 3), (2, 4), (1, 2, 3)])
def test_groups_attend_as_if_they_were_alone(kind: type, lengths: tuple[int, ...]) -> None:
    attention = make(kind)
    content, position = torch.randn(2, 2, 6, 32)
    together = attention.attend(content, position, plan_of(*lengths))
    alone = [
        attention.attend(c, p, plan_of(c.shape[1]))
        for c, p in zip(content.split(lengths, dim=1), position.split(lengths, dim=1), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone, dim=1))


@pytest.mark.parametrize("kind", AMONG_QUERIES)
def test_values_are_contents_without_positions(kind: type) -> None:
    """Of queries with equal contents the mixture is that content, whatever their positions are."""
    attention, content = make(kind), torch.randn(1, 1, 32).expand(1, 6, 32)
    first, second = (attention.attend(content, torch.randn(1, 6, 32), plan_of(6)) for _ in range(2))
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first, first[:, :1].expand_as(first))


@pytest.mark.parametrize("kind", AMONG_QUERIES)
def test_positions_decide_whom_a_query_attends_to(kind: type) -> None:
    attention, content = make(kind), torch.randn(1, 6, 32)
    first, second = (attention.attend(content, torch.randn(1, 6, 32), plan_of(6)) for _ in range(2))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("kind", TO_TOKENS)
@torch.no_grad()
def test_queries_do_not_see_padding_nor_each_other(kind: type) -> None:
    attention, image, reference = make(kind), memory(ratio=0.5), reference_of(kind)
    content, position = torch.randn(2, 1, 6, 32)
    together = attention.attend(content, position, reference, image)
    image.tokens[image.padding] = 1e3
    image.position[image.padding] = 1e3
    alone = [
        attention.attend(
            content[:, n : n + 1], position[:, n : n + 1], None if reference is None else reference[:, n : n + 1], image
        )
        for n in range(6)
    ]
    torch.testing.assert_close(together, torch.cat(alone, dim=1))


@pytest.mark.parametrize("kind", TO_TOKENS)
def test_contents_positions_tokens_and_references_all_decide_the_update(kind: type) -> None:
    attention, image, reference = make(kind), memory(), reference_of(kind)
    inputs = [*torch.randn(2, 1, 6, 32), image.tokens]
    inputs += [] if reference is None else [reference]
    inputs += [] if kind is DeformableCrossAttention else [image.position]
    for tensor in inputs:
        tensor.requires_grad_()
    attention.attend(inputs[0], inputs[1], reference, image).square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in inputs)


def test_only_keys_have_the_positions_of_tokens() -> None:
    """Tokens of equal content give that content, wherever they are."""
    for kind in (CrossAttention, ConditionalTokenAttention):
        attention, image, reference = make(kind), memory(), reference_of(kind)
        image.tokens.copy_(torch.randn(32).expand(1, 16, 32))
        content, position = torch.randn(2, 1, 6, 32)
        found = attention.attend(content, position, reference, image)
        torch.testing.assert_close(found, found[:, :1].expand_as(found))


def clipped(offset: float) -> ClippedCrossAttention:
    """All heads sample two points, this offset right of and below the centre."""
    attention = ClippedCrossAttention(32, 4, 1, 2)
    nn.init.constant_(attention.sampling_offsets.bias, offset)
    return attention


def test_sampling_points_beyond_the_box_are_moved_to_its_edge() -> None:
    offsets, _ = clipped(50.0).predict_points(torch.randn(1, 6, 32))
    assert torch.equal(offsets, torch.full((1, 6, 4, 1, 2, 2), 2.0))  # of two points: half of the box
    inside, _ = clipped(-1.5).predict_points(torch.randn(1, 6, 32))
    assert torch.equal(inside, torch.full((1, 6, 4, 1, 2, 2), -1.5))


def test_what_lies_outside_of_the_box_does_not_matter() -> None:
    """The right edge of the box is the centre of the third of four columns: beyond it only the fourth."""
    image, box = memory(), torch.tensor([0.375, 0.5, 0.5, 0.25]).expand(1, 6, 1, 4)
    queries = torch.randn(2, 1, 6, 32)
    attention, usual = clipped(4.0), DeformableCrossAttention(32, 4, 1, 2)
    usual.load_state_dict(attention.state_dict())
    before, unclipped = attention.attend(*queries, box, image), usual.attend(*queries, box, image)
    image.tokens[:, 3::4] = 100.0
    assert torch.equal(attention.attend(*queries, box, image), before)
    assert not torch.equal(usual.attend(*queries, box, image), unclipped)


def test_points_have_no_box_to_stay_in() -> None:
    with pytest.raises(ValueError, match="ClippedCrossAttention keeps sampling points inside of boxes"):
        clipped(1.0).attend(*torch.randn(2, 1, 6, 32), torch.rand(1, 6, 1, 2), memory())
