"""The method of converted weights, and tables that groups of queries share."""

import pytest
import torch

from querydet.checkpoint.conversion.methods import RECIPES, find_method
from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.config import shipped_configs
from tests.checkpoint.published import published


def test_groups_of_queries_are_split_in_their_order():
    state, options = published("group_detr_official")
    table = state["query_embed.weight"]
    with pytest.raises(ValueError, match="no groups of 300: say with --num-queries"):
        convert_content({"model": state})
    converted = convert_content({"model": state, "args": options})
    groups = ["selection.embedding.weight", *(f"selection.extra_groups.{k}.weight" for k in range(2))]
    assert torch.equal(torch.cat([converted.state[name] for name in groups]), table)
    alone = convert_content({"model": {**state, "query_embed.weight": table[:20]}, "args": options})
    assert alone.fit.recipe == "projects/group_detr/configs/conditional_detr_r50_50ep.py"


def test_hybrid_table_is_split_where_the_groups_meet():
    state, options = published("detrex_h_deformable")
    table = state["query_embedding.weight"]
    with pytest.raises(ValueError, match="--num-queries"):
        convert_content({"model": state})
    converted = convert_content({"model": state}, options={"num_queries": options.num_queries_one2one})
    assert torch.equal(converted.state["selection.content.weight"], table[:20])
    assert torch.equal(converted.state["selection.extra_content.weight"], table[20:])
    assert converted.fit.cfg.model.selection.extra_queries == len(table) - 20
    again = convert_content({"model": state}, config=converted.fit.cfg)  # which says how many are of the primary group
    assert again.state.keys() == converted.state.keys()
    assert all(torch.equal(value, converted.state[name]) for name, value in again.state.items())


def names(*given):
    """Weights of these names."""
    return dict.fromkeys(given, torch.zeros(1))


@pytest.mark.parametrize(
    ("state", "options", "expected"),
    [
        (names("neck.projection.weight", "decoder.layers.0.cross_attention.in_proj_weight"), {}, "detr"),
        (names("neck.projection.weight", "selection.anchors.weight"), {}, "dab_detr"),
        (
            names("neck.projection.weight", "selection.anchors.weight", "denoising.label_embed.weight"),
            {},
            "dn_dab_detr",
        ),
        (names("neck.projection.weight"), {}, "conditional_detr"),
        (names("neck.projection.weight", "selection.extra_groups.0.weight"), {}, "group_conditional_detr"),
        (names("selection.anchors.weight"), {}, "dab_deformable_detr"),
        (names("selection.embedding.weight"), {}, "deformable_detr_plain"),
        (names("selection.embedding.weight"), {"refine_boxes": True}, "deformable_detr_refine"),
        (names("heads.box_heads.1.weight"), {}, "deformable_detr_refine"),
        (names("selection.proposals.linear.weight", "decoder.query_position.mlp.weight"), {}, "dino"),
        (names("selection.proposals.linear.weight", "selection.content.linear.weight"), {}, "deta"),
        (
            names("selection.proposals.linear.weight", "selection.content.linear.weight"),
            {"assign_first_stage": False, "assign_second_stage": False},
            "deta_baseline",
        ),
        (names("selection.proposals.linear.weight", "selection.content.weight"), {}, "deformable_detr_pp"),
        (names("selection.proposals.linear.weight"), {}, "deformable_detr"),
        (names("selection.proposals.linear.weight"), {"ms_detr": True}, "ms_detr_no_aux_ffn"),
    ],
)
def test_the_method_is_known_by_names_and_options(state, options, expected):
    assert find_method(state, options) == expected


def test_more_queries_than_one_group_are_h_detr_s():
    assert find_method(names("selection.proposals.linear.weight"), {}, extra_queries=1500) == "h_detr"


def test_every_method_has_a_recipe_that_is_shipped():
    assert set(RECIPES.values()) <= set(shipped_configs())
