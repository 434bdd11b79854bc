"""The config that fits converted weights, and constants that no shape shows."""

import pytest
from detectron2.config import LazyCall as L

from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.modeling.decoder import QueryMLP
from tests.checkpoint.conversion.layouts import tiny
from tests.checkpoint.published import published


def test_options_of_the_file_decide_what_no_shape_shows():
    content = tiny("dino_5scale")
    assert content["args"].nheads == 4
    content["args"].pe_temperatureH = content["args"].pe_temperatureW = 30
    converted = convert_content(content)
    assert converted.settings["neck.position_embedding.temperature"] == 30
    assert converted.settings["neck.position_embedding.offset"] == 0
    assert converted.settings["decoder.layers.0.cross_attention.num_heads"] == 4
    assert "known from the options" in converted.report()
    assert converted.fit.cfg.model.decoder.layer.num_points == 4
    assert converted.settings["neck.position_embedding.temperature_x"] == 30


def test_a_temperature_for_height_and_another_one_for_width():
    content = tiny("dino_5scale")
    content["args"].pe_temperatureH, content["args"].pe_temperatureW = 30, 31
    converted = convert_content(content)
    embedding = converted.fit.cfg.model.neck.position_embedding
    assert (embedding.temperature, embedding.temperature_x) == (30, 31)
    assert converted.settings["neck.position_embedding.temperature_x"] == 31
    assert "model.neck.position_embedding.temperature_x=31.0" in converted.report()
    both = convert_content(content, options={"temperature": 25})
    assert both.settings["neck.position_embedding.temperature_x"] == 25, "the user's is for both"


@pytest.mark.parametrize(
    ("name", "temperature", "offset", "eps", "shared"),
    [
        ("dino_4scale", 20, 0, 1e-3, True),
        ("detrex_dino", 10000, -0.5, 1e-3, False),
        ("dn_dab_deformable", 10000, -0.5, 1e-3, False),
        ("deformable_plain", 10000, -0.5, 1e-5, True),
        ("deformable_two_stage", 10000, -0.5, 1e-5, False),
        ("detrex_deta", 10000, -0.5, 1e-3, False),
        ("detrex_h_deformable", 10000, -0.5, 1e-3, False),
    ],
)
def test_constants_are_those_of_the_code_base(name, temperature, offset, eps, shared):
    state, options = published(name)
    known = {"num_queries": getattr(options, "num_queries_one2one", None)}
    converted = convert_content({"model": state}, options=known)
    position = converted.fit.cfg.model.neck.position_embedding
    assert (position.temperature, position.offset) == (temperature, offset)
    assert converted.fit.cfg.model.heads.inverse_sigmoid_eps == eps
    assert converted.fit.cfg.model.heads.share_layers == shared


@pytest.mark.parametrize("step", ["self_attention", "cross_attention"])
def test_given_config_with_an_mlp_in_the_place_of_an_attention_is_refused(step):
    content = tiny("deformable_two_stage")
    config = convert_content(content).fit.cfg
    config.model.decoder.layer[step] = L(QueryMLP)(embed_dim=16, hidden_dim=16)
    with pytest.raises(ValueError, match=rf"replaces the usual attention \(model.decoder.layer.{step}\), but all publ"):
        convert_content(content, config=config)


def test_given_config_with_other_constants_is_refused():
    content = tiny("dino_4scale")
    config = convert_content(content).fit.cfg
    convert_content(content, config=config)
    config.model.neck.position_embedding.temperature = 10000.0
    with pytest.raises(ValueError, match=r"position_embedding.temperature is 10000.0, set it to 20"):
        convert_content(content, config=config)
