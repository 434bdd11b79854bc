"""The decoder layer around any two attentions: its steps, their order, and the branch between them."""

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from querydet.modeling.decoder import DecoderLayer, OneToManyBranch
from querydet.modeling.decoder.attention import CrossAttention, SelfAttention
from querydet.modeling.decoder.group_attention import AttentionPlan, plan_attention
from querydet.modeling.decoder.one_to_many import STEPS
from querydet.modeling.layers import FeedForward
from querydet.structures import QueryGroup, TokenPyramid
from tests.modeling.decoder.stacks import memory

PLAN = plan_attention((QueryGroup("primary", 0, 5),), torch.device("cpu"))


class AddPosition(nn.Module):
    """An attention among queries of one's own."""

    def attend(self, content: Tensor, position: Tensor, plan: AttentionPlan) -> Tensor:
        return position


class AddReference(nn.Module):
    """An attention to tokens of one's own, whose references are as wide as the contents."""

    def attend(self, content: Tensor, position: Tensor, reference: Tensor | None, memory: TokenPyramid) -> Tensor:
        assert reference is not None
        return content * reference


def make(
    order: tuple[str, ...] = STEPS, one_to_many: OneToManyBranch | None = None, dropout: float = 0.0
) -> DecoderLayer:
    torch.manual_seed(0)
    return DecoderLayer(
        embed_dim=32,
        self_attention=AddPosition(),
        cross_attention=AddReference(),
        ffn=FeedForward(32, 48),
        dropout=dropout,
        order=order,
        one_to_many=one_to_many,
    )


def inputs() -> tuple[Tensor, Tensor, Tensor, TokenPyramid]:
    torch.manual_seed(1)
    content, position, reference = torch.randn(3, 1, 5, 32)
    return content, position, reference, memory()


def steps(layer: DecoderLayer) -> dict[str, Tensor]:
    """The content after every step."""
    content, position, reference, _ = inputs()
    found = {}
    for step in layer.order:
        if step == "self_attention":
            content = layer.self_attention_norm(content + position)
        elif step == "cross_attention":
            content = layer.cross_attention_norm(content + content * reference)
        else:
            content = layer.ffn(content)
        found[step] = content
    return found


@pytest.mark.parametrize("order", permutations(STEPS))
def test_each_step_has_a_residual_connection_and_its_norm_in_any_order(order: tuple[str, ...]) -> None:
    layer = make(order)
    content, branch = layer(*inputs(), PLAN)
    torch.testing.assert_close(content, steps(layer)[order[-1]])
    assert branch is None


@pytest.mark.parametrize("after", STEPS)
def test_the_branch_starts_after_its_step_with_the_queries_that_have_it(after: str) -> None:
    layer = make(one_to_many=OneToManyBranch(after=after))
    rows = (slice(0, 2), slice(4, 5))
    content, branch = layer(*inputs(), PLAN, rows)
    torch.testing.assert_close(branch, torch.cat([steps(layer)[after][:, part] for part in rows], dim=1))
    assert torch.equal(content, make()(*inputs(), PLAN)[0]), "the layer itself does not depend on it"
    assert layer(*inputs(), PLAN)[1] is None


def test_rows_without_a_branch_have_none() -> None:
    assert make()(*inputs(), PLAN, (slice(0, 2),))[1] is None


def test_dropout_of_the_updates_leaves_the_content() -> None:
    layer = make(dropout=1.0)
    content = inputs()[0]
    wanted = layer.ffn(layer.cross_attention_norm(layer.self_attention_norm(content)))
    torch.testing.assert_close(layer(*inputs(), PLAN)[0], wanted)


def test_output_projections_of_torchs_attention_are_xavier() -> None:
    torch.manual_seed(0)
    layer = DecoderLayer(
        embed_dim=32,
        self_attention=SelfAttention(32, 4),
        cross_attention=CrossAttention(32, 4),
        ffn=FeedForward(32, 48),
    )
    for attention in (layer.self_attention, layer.cross_attention):
        bound = (6 / 64) ** 0.5
        assert 0.9 * bound < attention.out_proj.weight.abs().max() <= bound


@pytest.mark.parametrize("order", [STEPS[:2], ("ffn", "ffn", "self_attention"), (*STEPS, "ffn"), ()])
def test_an_order_holds_every_step_once(order: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="order must hold each of"):
        make(order)
