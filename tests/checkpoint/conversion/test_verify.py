"""Converted weights cover a model exactly, or are refused by name."""

import re

import pytest
import torch

from querydet.checkpoint.conversion.pipeline import convert_content
from tests.checkpoint.conversion.layouts import tiny


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
