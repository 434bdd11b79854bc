"""Converted weights cover a model exactly, or are refused by name."""

import re

import pytest
import torch

from querydet import model_zoo
from querydet.checkpoint.conversion.pipeline import convert_content
from tests.checkpoint.conversion.layouts import tiny
from tests.checkpoint.conversion.published_backbones import convnext
from tests.checkpoint.published import load_layout, make_state


@pytest.mark.parametrize(
    "gone",
    ["transformer.level_embed", "transformer.decoder.norm.bias", "transformer.encoder.layers.0.norm1.weight"],
)
def test_one_missing_key_is_an_error_that_names_it(gone):
    content = tiny("dino_4scale")
    del content["model"][gone]
    with pytest.raises(ValueError, match=re.escape(gone)):
        convert_content(content)


def test_the_nearest_missing_name_is_suggested():
    content = tiny("deta")
    content["model"]["transformer.decoder.layers.1.norm3.weigth"] = content["model"].pop(
        "transformer.decoder.layers.1.norm3.weight"
    )
    with pytest.raises(ValueError, match=r"is it transformer\.decoder\.layers\.1\.norm3\.weight\?"):
        convert_content(content)


def test_one_tensor_of_another_shape_is_an_error():
    content = tiny("dino_4scale")
    content["model"]["transformer.decoder.layers.1.linear1.bias"] = torch.zeros(5)
    with pytest.raises(ValueError, match=r"of another shape: transformer.decoder.layers.1.linear1.bias is \(5,\)"):
        convert_content(content)


def test_given_config_of_other_sizes_is_refused():
    content = tiny("dino_4scale")
    config = convert_content(content).fit.cfg
    config.model.num_classes = 5
    with pytest.raises(ValueError, match=r"class_embed.0.weight is \(7, 64\), the model has \(5, 64\)"):
        convert_content(content, config=config)


def test_a_backbone_of_detrex_that_is_timms_here_gets_its_names():
    """And the norms of its maps, which detrex trained; that of stride 4 has no place and is named."""
    state = make_state(load_layout("detrex_dino_r50_4scale"))
    state = {name: value for name, value in state.items() if not name.startswith("backbone.")}
    shapes = convnext([3, 3, 9, 3], [96, 192, 384, 768])
    state |= {f"backbone.{name}": torch.tensor(0.5).expand(shape) for name, shape in shapes.items()}
    for level, width in enumerate((192, 384, 768)):
        state[f"neck.convs.{level}.conv.weight"] = torch.tensor(0.5).expand(256, width, 1, 1)
    state["neck.extra_convs.0.conv.weight"] = torch.tensor(0.5).expand(256, 768, 3, 3)
    name = "dino_convnext_t_22k_4scale_12ep_detrex"
    converted = convert_content({"model": state}, config=model_zoo.get_config(name))
    assert converted.state["backbone.norm1.weight"].shape == (192,)
    assert (
        converted.conversion.mapped["backbone.stages.2.8.dwconv.bias"] == "backbone.net.stages.2.blocks.8.conv_dw.bias"
    )
    assert set(converted.conversion.dropped) == {"backbone.norm0.weight", "backbone.norm0.bias"}
