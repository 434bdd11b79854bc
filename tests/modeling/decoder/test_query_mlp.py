"""An MLP that replaces an attention: what it depends on, and how many parameters it has."""

from dataclasses import replace

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from torch import Tensor

from querydet.config import load_config
from querydet.modeling.decoder import DeformableDecoder, QueryMLP, deformable_decoder_layer
from querydet.modeling.decoder.attention import ClippedCrossAttention, DeformableCrossAttention, SelfAttention
from querydet.structures import Blocks, QueryBatch, QueryGroup, Role, TokenPyramid
from tests.modeling.decoder.stacks import heads, memory, queries
from tests.models import make_small
from tests.products import step_that_adds_nothing_to_inference

ALONE = (QueryGroup("primary", 0, 5),)
WITH_DENOISING = (
    QueryGroup("denoising", 0, 2, role=Role.DENOISING, visible_groups=("primary",), blocks=(Blocks(2, 1),)),
    QueryGroup("primary", 2, 5),
)
IN_GROUPS = (QueryGroup("primary", 0, 2), QueryGroup("group_1", 2, 4), QueryGroup("group_2", 4, 5))
ROWS = [f"deta_{base}_{step}_attention_mlp_12ep" for base in ("no_balancing", "base") for step in ("self", "cross")]


def make(clipped: bool = False, **steps: QueryMLP) -> DeformableDecoder:
    torch.manual_seed(0)
    if clipped:
        steps["cross_attention"] = ClippedCrossAttention(32, 4, 1, 2)  # type: ignore[assignment]
    layer = deformable_decoder_layer(embed_dim=32, num_heads=4, ffn_dim=48, num_levels=1, num_points=2, **steps)
    return DeformableDecoder(layer=layer, num_layers=3)


def mlp() -> QueryMLP:
    return QueryMLP(embed_dim=32, hidden_dim=48)


@torch.no_grad()
def hidden(decoder: DeformableDecoder, batch: QueryBatch, image: TokenPyramid) -> list[Tensor]:
    """What every layer gives the heads, which have moved the boxes before the next layer."""
    torch.manual_seed(3)
    return [output.hidden for output in decoder(batch, image, heads(3))]


@pytest.mark.parametrize("groups", [ALONE, WITH_DENOISING, IN_GROUPS])
@pytest.mark.parametrize("clipped", [False, True])
def test_without_self_attention_a_query_depends_on_no_other(groups: tuple[QueryGroup, ...], clipped: bool) -> None:
    decoder, batch, image = make(clipped, self_attention=mlp()), queries(position=True, groups=groups), memory()
    before = hidden(decoder, batch, image)
    for query in range(5):
        content, boxes = batch.content.clone(), batch.boxes.clone()
        content[:, query] += 1
        boxes[:, query] *= 0.5
        after = hidden(decoder, replace(batch, content=content, boxes=boxes), image)
        others = torch.arange(5) != query
        for old, new in zip(before, after, strict=True):
            assert torch.equal(old[:, others], new[:, others])
            assert not torch.equal(old[:, query], new[:, query])


def test_with_self_attention_queries_depend_on_each_other() -> None:
    decoder, batch, image = make(), queries(position=True), memory()
    content = batch.content.clone()
    content[:, 0] += 1
    before, after = hidden(decoder, batch, image), hidden(decoder, replace(batch, content=content), image)
    assert not torch.equal(before[0][:, 1:], after[0][:, 1:])


def test_without_cross_attention_the_image_does_not_matter() -> None:
    decoder, batch = make(cross_attention=mlp()), queries(position=True)
    assert not decoder.reads_tokens
    assert make().reads_tokens
    for first, second in zip(hidden(decoder, batch, memory()), hidden(decoder, batch, memory()), strict=True):
        assert torch.equal(first, second)


def test_the_update_by_hand() -> None:
    layer = QueryMLP(embed_dim=2, hidden_dim=1)
    with torch.no_grad():
        layer.linear1.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.linear1.bias.fill_(-1.0)
        layer.linear2.weight.copy_(torch.tensor([[3.0], [-1.0]]))
        layer.linear2.bias.zero_()
    content, position = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]]), torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    torch.testing.assert_close(layer.attend(content, position), torch.tensor([[[6.0, -2.0], [0.0, 0.0]]]))
    layer.add_position = False
    torch.testing.assert_close(layer.attend(content, position), torch.zeros(1, 2, 2))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_sizes_of_the_recipes_have_the_parameters_of_the_attentions_but_for_a_few_hundred() -> None:
    assert count(SelfAttention(256, 8, 0.0)) == 263_168
    assert count(QueryMLP(embed_dim=256, hidden_dim=512)) == 262_912
    assert count(DeformableCrossAttention(256, 8, 4, 4)) == 230_272
    assert count(QueryMLP(embed_dim=256, hidden_dim=448)) == 230_080


def test_every_layer_draws_weights_of_its_own() -> None:
    first, second, _ = make(self_attention=mlp()).layers
    assert not torch.equal(first.self_attention.linear1.weight, second.self_attention.linear1.weight)


@pytest.mark.parametrize("row", ROWS)
def test_recipes_of_table_7_train_all_of_their_parameters(row: str) -> None:
    cfg = load_config(f"projects/deta/configs/{row}.py")
    step = "self_attention" if "self" in row else "cross_attention"
    assert cfg.model.decoder.layer[step].hidden_dim == (512 if step == "self_attention" else 448)
    assert (cfg.model.neck.num_levels, cfg.model.decoder.layer.ffn_dim, cfg.model.decoder.layer.dropout) == (
        4,
        1024,
        0.1,
    )
    assert cfg.model.decoder.layer[step].dropout == 0.1
    step_that_adds_nothing_to_inference(make_small(cfg.model))


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="hidden_dim must be at least 1, found 0"):
        QueryMLP(hidden_dim=0)
    with pytest.raises(ValueError, match="cross_attention of a decoder layer of width 32 is made for width 64"):
        make(cross_attention=QueryMLP(embed_dim=64))


def test_a_model_that_would_never_see_the_image_is_refused() -> None:
    model = make_small(load_config("projects/deformable_detr/configs/deformable_detr_r50_50ep.py").model)
    model.decoder.layer.cross_attention = L(QueryMLP)(embed_dim="${..embed_dim}", hidden_dim=48)
    with pytest.raises(ValueError, match="no image would reach the queries: the layers"):
        instantiate(model)
