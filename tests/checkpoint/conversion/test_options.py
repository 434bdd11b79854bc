"""What a published file says about its model besides the weights."""

import argparse
import json
import re

import pytest
import torch

from querydet.checkpoint.conversion.options import read_options
from querydet.checkpoint.conversion.pipeline import convert_content
from tests.checkpoint.conversion.layouts import huggingface
from tests.checkpoint.published import published


def test_huggingface_writes_shared_heads_once(tmp_path):
    state, options = published("deformable_plain")
    whole = huggingface(state)
    once = {name: value for name, value in whole.items() if not re.match(r"(class|bbox)_embed\.[1-9]", name)}
    assert len(once) < len(whole)
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "deformable_detr", "decoder_attention_heads": options.nheads, "dilation": False})
    )
    converted = convert_content(once, str(tmp_path / "model.safetensors"))
    assert converted.settings["decoder.layers.0.cross_attention.num_heads"] == options.nheads
    assert "serve all layers" in converted.report()
    official = convert_content({"model": state, "args": options}).state
    assert all(torch.equal(converted.state[key], value) for key, value in official.items())


def test_dilation_is_refused(tmp_path):
    state, _ = published("deformable_plain")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deformable_detr", "dilation": True}))
    with pytest.raises(ValueError, match="dilation=True"):
        convert_content(huggingface(state), str(tmp_path / "model.safetensors"))


def test_options_are_read_under_our_names():
    given = argparse.Namespace(nheads=4, num_queries=100, dilation=None, lr=0.1, pe_temperatureH=20)
    assert read_options({"args": given}) == {"num_heads": 4, "num_queries": 100}
    dino = argparse.Namespace(**vars(given), dn_labelbook_size=91, pe_temperatureW=20, num_select=300)
    assert read_options({"args": vars(dino)}) == {
        **{"num_heads": 4, "num_queries": 100},
        **{"temperature": 20, "temperature_w": 20, "num_detections": 300},
    }
    assert read_options({"model": {}}) == {}


def test_a_config_beside_the_weights_is_read_where_it_is_of_such_a_detector(tmp_path):
    path, weights = tmp_path / "config.json", str(tmp_path / "model.safetensors")
    values = {"model_type": "deta", "two_stage": True, "two_stage_num_proposals": 900, "num_queries": 300}
    path.write_text(json.dumps(values))
    assert read_options({}, weights)["num_queries"] == 900
    path.write_text(json.dumps({**values, "two_stage": False}))
    assert read_options({}, weights)["num_queries"] == 300
    path.write_text(json.dumps({**values, "model_type": "bert"}))
    assert read_options({}, weights) == {}
    path.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json, which lies beside the weights, is no json"):
        read_options({}, weights)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("nheads", ("x", 0, -1, 1.5, True, 10**9, [8], float("nan"))),
        ("num_queries", ("${train.seed}", 0, 1.5, {"a": 1})),
        ("topk_eval", (-1, "x")),
        ("two_stage", ("no", 7, [1], float("nan"))),
        ("nms_iou_threshold", ("x", float("inf"), True)),
    ],
)
def test_options_of_another_kind_are_refused_by_name(option, values):
    for value in values:
        with pytest.raises(ValueError, match=rf"the file was trained with {option}=.*, which is not possible"):
            read_options({"args": {"use_ms_detr": True, option: value}})
