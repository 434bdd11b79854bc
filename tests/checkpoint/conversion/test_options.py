"""What a published file says about its model besides the weights."""

import json
import re

import pytest
import torch

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
