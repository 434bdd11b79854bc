"""The changes of a chosen config, as overrides of a command line."""

from detectron2.config import LazyCall as L
from omegaconf import OmegaConf

from querydet.checkpoint.conversion.fitted import CODE, Fit, plain
from querydet.modeling.losses import L1Loss


def test_changes_are_printed_as_overrides():
    changes = {"model.a": True, "model.b": None, "model.c": [1, 2.5], "model.d": {"x": "y"}}
    assert Fit("a recipe", OmegaConf.create(), changes).overrides() == [
        "model.a=true",
        "model.b=null",
        "model.c=[1,2.5]",
        "model.d={x:y}",
    ]


def test_a_part_replaces_all_arguments_of_the_old_one():
    fit = Fit("a recipe", OmegaConf.create(), {"model.loss": L(L1Loss)(weight=5.0)})
    first, second = fit.overrides()
    assert first == "model.loss=null"
    assert sorted(second.removeprefix("model.loss={").removesuffix("}").split(",")) == [
        "_target_:querydet.modeling.losses.L1Loss",
        "weight:5.0",
    ]


def test_settings_are_stated_with_their_source():
    fit = Fit("a recipe", OmegaConf.create({"a": {"b": 3}}), sources={"a.b": CODE})
    assert fit.statement() == ["a.b=3, known from the released code"]
    assert "a.b=3" in fit.guesses()


def test_plain_values_are_unchanged():
    assert plain(OmegaConf.create({"a": [1, {"b": 2}]})) == {"a": [1, {"b": 2}]}
    assert plain("text") == "text"
