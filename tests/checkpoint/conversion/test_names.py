"""Names of the published code bases and ours are read in both directions."""

import pytest
import torch

from querydet.checkpoint.conversion.convert import convert_state_dict
from querydet.checkpoint.conversion.names import DETREX, HUGGINGFACE, OFFICIAL
from querydet.checkpoint.conversion.pipeline import convert_content
from tests.checkpoint.conversion.layouts import huggingface
from tests.checkpoint.published import published


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
