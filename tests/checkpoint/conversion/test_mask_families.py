"""Published names of detectors that predict masks: every key has its place, there and back."""

import re

import pytest
import torch

from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.checkpoint.conversion.revert import revert_state_dict
from tests.checkpoint.conversion.layouts import tiny
from tests.checkpoint.published import layouts, load_layout, make_state, published

TINY = ("mask2former", "mask2former_groups")


def converted(name, state=None, **changes):
    """A tiny recording, converted with what its user has to say."""
    recorded, options = published(name)
    said = {"num_queries": options.num_queries, "num_heads": options.nheads, **changes}
    return convert_content({"model": recorded if state is None else state}, options=said)


@pytest.mark.parametrize("name", TINY)
def test_there_and_back_bit_for_bit(name):
    state = published(name)[0]
    found = converted(name)
    back = revert_state_dict(found.state, num_heads=8)
    assert set(back) == set(state)
    assert all(torch.equal(back[key], value) for key, value in state.items())
    assert len(found.conversion.mapped) == len(state)


@pytest.mark.parametrize("name", ["mask2former_r50_instance", "ms_mask_deformable_detr_r50_300"])
def test_there_and_back_at_full_size_with_a_backbone(name):
    if name not in layouts():
        pytest.skip(f"no layout {name} in QUERYDET_LAYOUTS_DIR")
    state = make_state(load_layout(name))
    back = revert_state_dict(convert_content({"model": state}).state)
    assert set(state) - set(back) <= {"criterion.empty_weight"}
    assert {key: (value.shape, value.flatten()[0]) for key, value in back.items()} == {
        key: (state[key].shape, state[key].flatten()[0]) for key in back
    }


def test_levels_come_from_fine_to_coarse():
    state, found = published("mask2former")[0], converted("mask2former").state
    for theirs, ours in ((0, 2), (1, 1), (2, 0)):
        for kind, place in (("0.weight", "conv.weight"), ("1.bias", "norm.bias")):
            wanted = state[f"sem_seg_head.pixel_decoder.input_proj.{theirs}.{kind}"]
            assert torch.equal(found[f"neck.projections.{ours}.{place}"], wanted)
    for theirs, ours in (
        ("pixel_decoder.transformer.level_embed", "neck.level_embed"),
        ("predictor.level_embed.weight", "decoder.level_embed.weight"),
    ):
        assert torch.equal(found[ours], state[f"sem_seg_head.{theirs}"].flip(0))


def test_older_names_are_the_same_weights():
    state = published("mask2former")[0]
    older = {
        name.replace("query_feat", "static_query").replace("sem_seg_head.pixel_decoder.", "sem_seg_head."): value
        for name, value in state.items()
    }
    assert not set(older) & {name for name in state if "pixel_decoder" in name or "query_feat" in name}
    found, wanted = converted("mask2former", older), converted("mask2former")
    assert set(found.state) == set(wanted.state)
    assert all(torch.equal(found.state[name], value) for name, value in wanted.state.items())
    assert found.fit.cfg == wanted.fit.cfg
    only_queries = {name.replace("query_feat", "static_query"): value for name, value in state.items()}
    assert set(converted("mask2former", only_queries).state) == set(wanted.state)


def test_what_belongs_to_the_loss_is_dropped_with_the_reason():
    state = {**published("mask2former")[0], "criterion.empty_weight": torch.ones(6)}
    found = converted("mask2former", state)
    assert found.conversion.dropped == {"criterion.empty_weight": "of a loss"}
    assert "dropped 1 (of a loss): criterion.empty_weight" in found.report()


def test_tables_of_groups_are_split_where_their_size_is_said():
    state, options = published("mask2former_groups")
    found = converted("mask2former_groups")
    table, size = state["sem_seg_head.predictor.query_embed.weight"], options.num_queries
    assert torch.equal(found.state["selection.position.weight"], table[:size])
    assert torch.equal(found.state["selection.extra_positions.1.weight"], table[2 * size :])
    assert found.fit.cfg.model.selection.num_groups == 3
    assert "holds 3 groups of 7" in found.report()
    whole = converted("mask2former_groups", num_queries=None)
    assert whole.fit.cfg.model.selection.num_queries == 3 * size
    with pytest.raises(ValueError, match="has 21 rows, which are no groups of 5: say with --num-queries"):
        converted("mask2former_groups", num_queries=5)


@pytest.mark.parametrize("heads", [5, 7, 9])
def test_a_number_of_heads_that_cannot_be_is_refused(heads):
    with pytest.raises(ValueError, match=f"cannot be those of {heads} heads and 3 levels"):
        converted("mask2former", num_heads=heads)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sem_seg_head.pixel_decoder.input_proj.1.0.weight", "sem_seg_head.pixel_decoder.input_proj.4.0.weight"),
        ("sem_seg_head.pixel_decoder.transformer.level_embed", "sem_seg_head.pixel_decoder.transformer.level_embd"),
        ("sem_seg_head.pixel_decoder.adapter_1.norm.bias", "sem_seg_head.pixel_decoder.adapter_2.norm.bias"),
        ("sem_seg_head.predictor.query_feat.weight", "sem_seg_head.predictor.query_feats.weight"),
        ("sem_seg_head.predictor.class_embed.bias", "sem_seg_head.predictor.class_embeds.bias"),
        ("sem_seg_head.predictor.decoder_norm.bias", "sem_seg_head.predictor.input_proj.0.bias"),
    ],
)
def test_one_renamed_key_is_an_error_that_names_it(old, new):
    state = published("mask2former")[0]
    state[new] = state.pop(old)
    with pytest.raises(ValueError, match=f"{re.escape(new)}|{re.escape(old)}"):
        converted("mask2former", state)


@pytest.mark.parametrize(
    "gone",
    [
        "sem_seg_head.pixel_decoder.input_proj.0.1.bias",
        "sem_seg_head.pixel_decoder.mask_features.weight",
        "sem_seg_head.predictor.query_embed.weight",
        "sem_seg_head.predictor.transformer_ffn_layers.1.norm.weight",
        "sem_seg_head.predictor.level_embed.weight",
    ],
)
def test_one_missing_key_is_an_error_that_names_it(gone):
    state = published("mask2former")[0]
    del state[gone]
    with pytest.raises(ValueError, match=re.escape(gone)):
        converted("mask2former", state)


def test_the_mask_head_of_a_file_without_a_detector_is_refused():
    with pytest.raises(ValueError, match=r"with masks, but nothing begins with detr\."):
        convert_content({"model": published("mask_deformable_head")[0]})


def test_options_have_to_say_what_the_weights_are():
    content = tiny("ms_detr_deformable")
    content["args"].masks = True
    with pytest.raises(ValueError, match="masks=True"):
        convert_content(content)
