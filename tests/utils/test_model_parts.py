"""Parts of a model by their names in a config."""

import pytest
from omegaconf import OmegaConf
from torch import nn

from querydet.utils.model_parts import named_parts

MODEL = nn.ModuleDict({"backbone": nn.Linear(1, 1), "decoder": nn.ModuleDict({"norm": nn.LayerNorm(1)})})


def test_parts_are_found_once_each_in_the_order_of_their_names() -> None:
    found = named_parts(MODEL, OmegaConf.create(["decoder", "backbone", "decoder"]), "train.freeze")
    assert list(found) == ["decoder", "backbone"]
    assert found["backbone"] is MODEL["backbone"]


@pytest.mark.parametrize("names", [None, [], "", ()])
def test_no_names_are_no_parts(names: list[str] | None) -> None:
    assert named_parts(MODEL, names, "train.freeze") == {}


@pytest.mark.parametrize("name", ["encoder", "decoder.norm", "Backbone", "", 3, ["backbone"], None])
def test_anything_else_is_an_error_that_lists_the_parts(name: str) -> None:
    with pytest.raises(ValueError, match=r"train.freeze names .*, but the model's parts are backbone, decoder"):
        named_parts(MODEL, [name], "train.freeze")


def test_a_text_is_no_list() -> None:
    with pytest.raises(ValueError, match=r"train.freeze has to be a list of parts, such as \[backbone\]"):
        named_parts(MODEL, "backbone", "train.freeze")
