"""Published state dicts: recognised, converted with every key accounted for, and refused where anything is off."""

import re

import pytest
import torch

from querydet.checkpoint.conversion.pipeline import convert_content
from tests.checkpoint.conversion.layouts import tiny
from tests.checkpoint.published import published


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("transformer.level_embed", "transformer.level_embd"),
        ("transformer.decoder.layers.1.norm2.weight", "transformer.decoder.layers.1.norm9.weight"),
        ("transformer.encoder.layers.1.linear1.bias", "transformer.encoder.layers.7.linear1.bias"),
        ("input_proj.3.1.weight", "input_proj.4.1.weight"),
        ("class_embed.1.weight", "class_embed.8.weight"),
        ("transformer.decoder.bbox_embed.2.layers.0.bias", "transformer.decoder.bbox_embed.2.layers.7.bias"),
        ("label_enc.weight", "label_encoder.weight"),
        ("transformer.enc_output.weight", "transformer.encoder_output.weight"),
        ("transformer.tgt_embed.weight", "transformer.target_embed.weight"),
        ("transformer.decoder.layers.0.cross_attn.attention_weights.weight", "extra"),
    ],
)
def test_one_renamed_key_is_an_error_that_names_it(old, new):
    content = tiny("dino_4scale")
    content["model"][new] = content["model"].pop(old)
    with pytest.raises(ValueError, match=re.escape(new)):
        convert_content(content)


def test_unknown_layout_is_refused_with_the_nearest_and_what_it_misses():
    state = published("dino_4scale")[0]
    broken = {name: value for name, value in state.items() if "cross_attn" not in name}
    with pytest.raises(ValueError, match=r"nearest is official, but nothing begins with .*cross_attn"):
        convert_content({"model": broken})
    with pytest.raises(ValueError, match=r"no known layout has names such as conv\.weight"):
        convert_content({"model": {"conv.weight": torch.zeros(1)}})


def test_our_own_names_are_not_converted_again():
    converted = convert_content(tiny("dino_4scale"))
    with pytest.raises(ValueError, match="own names already"):
        convert_content({"model": converted.state})


def test_copies_that_differ_are_an_error():
    content = tiny("dino_4scale")
    name = "transformer.decoder.class_embed.1.weight"
    content["model"][name] = content["model"][name] + 1
    with pytest.raises(ValueError, match="have to be one parameter"):
        convert_content(content)
