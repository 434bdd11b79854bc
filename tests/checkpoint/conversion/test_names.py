"""Names of the published code bases and ours are read in both directions."""

import pytest
import torch

from querydet.checkpoint.conversion.convert import convert_state_dict
from querydet.checkpoint.conversion.families import FAMILIES
from querydet.checkpoint.conversion.names import DETREX, HUGGINGFACE, OFFICIAL, Sizes, matches
from querydet.checkpoint.conversion.pipeline import convert_content
from tests.checkpoint.conversion.layouts import huggingface
from tests.checkpoint.published import layouts, load_layout, make_state, published


@pytest.mark.parametrize(
    ("name", "family"), [("dino_4scale", OFFICIAL), ("detrex_dino", DETREX), ("ms_detr_pp", OFFICIAL)]
)
def test_layout_is_recognised_by_its_keys(name, family):
    assert convert_state_dict(published(name)[0]).family is family


@pytest.mark.parametrize("name", ["deformable_plain", "deformable_refine", "deformable_two_stage", "deta"])
def test_huggingface_layout_holds_the_same_weights(name):
    state, options = published(name)
    official = convert_content({"model": state, "args": options}).state
    known = {"num_heads": options.nheads, "num_queries": options.num_queries}
    theirs = convert_content(huggingface(state), options=known)
    assert theirs.conversion.family is HUGGINGFACE
    assert set(theirs.state) == set(official)
    assert all(torch.equal(theirs.state[key], value) for key, value in official.items())
    assert theirs.fit.recipe == convert_content({"model": state, "args": options}).fit.recipe


@pytest.mark.parametrize("name", layouts())
def test_our_names_lead_back_to_theirs(name):
    conversion = convert_state_dict(make_state(load_layout(name)))
    family, sizes = conversion.family, conversion.sizes
    joined = {ours for ours in conversion.mapped.values() if list(conversion.mapped.values()).count(ours) > 1}
    back = {ours: family.their_name(ours, sizes) for ours in conversion.mapped.values()}
    assert {ours for ours, theirs in back.items() if theirs is None} == joined  # several of theirs make one of ours
    assert all(family.our_name(theirs, sizes) == ours for ours, theirs in back.items() if theirs is not None)


def test_names_of_levels_and_heads_depend_on_sizes():
    sizes = Sizes(num_maps=3, num_layers=6, two_stage=True)
    for theirs, ours in (
        ("input_proj.2.0.weight", "neck.projections.2.conv.weight"),
        ("input_proj.3.1.bias", "neck.extra_projections.0.norm.bias"),
        ("class_embed.5.weight", "heads.class_heads.5.weight"),
        ("class_embed.6.weight", "selection.proposals.class_head.weight"),
        ("transformer.decoder.layers.4.norm1.weight", "decoder.layers.4.cross_attention_norm.weight"),
        ("backbone.0.body.layer4.2.bn3.weight", "backbone.res5.2.conv3.norm.weight"),
    ):
        assert OFFICIAL.our_name(theirs, sizes) == ours
        assert OFFICIAL.their_name(ours, sizes) == theirs
    one_stage = Sizes(num_maps=3, num_layers=6, two_stage=False)
    assert OFFICIAL.our_name("query_embed.weight", sizes) == "selection.content.weight"
    assert OFFICIAL.our_name("query_embed.weight", one_stage) == "selection.embedding.weight"
    assert OFFICIAL.our_name("level_embd", sizes) is None


def test_marks_say_which_family_names_are_of():
    names = [mark.format(0) + "weight" for mark in OFFICIAL.marks]
    assert set(matches(OFFICIAL, names).values()) == {True}
    assert list(matches(OFFICIAL, names[1:]).values()) == [False, True, True]
    assert not any(all(matches(family, names).values()) for family in FAMILIES if family is not OFFICIAL)
