"""From our names back to the official ones."""

import pytest
import torch

from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.checkpoint.conversion.revert import revert_state_dict
from tests.checkpoint.conversion.layouts import tiny
from tests.checkpoint.published import layouts, load_layout, make_state, published


@pytest.mark.parametrize(
    "name",
    [
        "dino_4scale",
        "dino_5scale",
        "deformable_plain",
        "deformable_refine",
        "deformable_two_stage",
        "dn_deformable_encoder",
        "dac_detr",
    ],
)
def test_way_back_gives_every_official_name(name):
    state, options = published(name)
    converted = convert_content({"model": state, "args": options})
    official = revert_state_dict(converted.state)
    assert set(official) == set(state)
    assert all(torch.equal(official[key], value) for key, value in state.items())


def test_way_back_at_full_size_with_a_backbone():
    for name in ("dino_r50_5scale", "deformable_detr_r50", "dn_deformable_encoder_only_r50_3pat", "dac_detr_r50_900"):
        if name in layouts():
            state = make_state(load_layout(name))
            official = revert_state_dict(convert_content({"model": state}).state)
            assert {key: value.shape for key, value in official.items()} == {
                key: value.shape for key, value in state.items()
            }
            assert {key: value.reshape(-1)[0] for key, value in official.items()} == {
                key: value.reshape(-1)[0] for key, value in state.items()
            }


def test_rows_that_no_label_has_are_left_on_the_way_back():
    """Such as those of a label table with one row more than there are classes, as other models of DN-DETR have it."""
    state, options = published("dn_deformable_encoder")
    ours = convert_content({"model": state, "args": options}).state
    table = "denoising.label_embed.weight"
    longer = {**ours, table: torch.cat([ours[table], torch.ones(1, ours[table].shape[1])])}
    assert torch.equal(revert_state_dict(longer)["label_enc.weight"], state["label_enc.weight"])


def test_way_back_of_other_methods_is_refused():
    with pytest.raises(ValueError, match="weights are of deta; the way back exists for dino"):
        revert_state_dict(convert_content(tiny("deta")).state)


@pytest.mark.parametrize("step", ["self_attention", "cross_attention"])
def test_way_back_of_an_mlp_in_the_place_of_an_attention_is_refused(step):
    state = convert_content(tiny("deformable_two_stage")).state
    kept = {key: value for key, value in state.items() if f"decoder.layers.0.{step}." not in key}
    kept[f"decoder.layers.0.{step}.linear1.weight"] = torch.zeros(3, 3)
    with pytest.raises(ValueError, match=rf"decoder.layers.0.{step}.linear1.weight belongs to a part that"):
        revert_state_dict(kept)
