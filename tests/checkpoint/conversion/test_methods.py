"""The method of converted weights, and tables that groups of queries share."""

import pytest
import torch

from querydet.checkpoint.conversion.pipeline import convert_content
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
