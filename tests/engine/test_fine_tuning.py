"""Fine-tuning from a detector of other classes, queries and levels, by switches of the config."""

import logging

import pytest
import torch

from querydet.checkpoint import Checkpointer
from querydet.data.synthetic_scene import CLASS_NAMES
from querydet.engine import train
from tests.engine.conftest import DINO_CONFIG
from tests.models import tiny_detector

SWITCHES = [
    "train.max_iter=1",
    "optimizer.lr=0",
    "model.selection.num_queries=20",
    "model.neck.num_levels=3",
    "train.checkpointer.period=1it",
]


@pytest.fixture
def source(tmp_path):
    """Weights of five classes, two of which are among the six of the data."""
    names = [CLASS_NAMES[4], "teapot", CLASS_NAMES[0], "kettle", "spoon"]
    detector = tiny_detector("dino")
    Checkpointer(detector, str(tmp_path), class_names=names).save("source")
    return detector.state_dict(), f"train.init_checkpoint={tmp_path / 'source.pth'}"


def test_the_run_starts_from_what_means_the_same_and_says_what_does_not(toy_config, source, tmp_path, caplog):
    state, init = source
    with caplog.at_level(logging.INFO, logger="querydet"):
        train(toy_config(*SWITCHES, init, "train.init_surgery=True", config=DINO_CONFIG))
    saved = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["model"]
    head = "heads.class_heads.0.weight"
    assert torch.equal(saved[head][[0, 4]], state[head][[2, 0]])
    assert torch.equal(saved["selection.content.weight"][:12], state["selection.content.weight"])
    assert torch.equal(saved["neck.level_embed"], state["neck.level_embed"][:3])
    assert f"classes: 5 in the file, 6 in the model; found by name: {CLASS_NAMES[0]}, {CLASS_NAMES[4]}" in caplog.text
    assert "levels: 4 in the file, 3 in the model; not used: 3 of the file" in caplog.text
    assert "selection.content.weight: queries 12 to 19" in caplog.text


def test_without_the_switch_it_is_refused_and_the_switch_named(toy_config, source):
    with pytest.raises(ValueError, match=r"train\.init_surgery=True"):
        train(toy_config(*SWITCHES, source[1], config=DINO_CONFIG))


def test_fine_tuning_from_other_classes(toy_config, tmp_path):
    train(toy_config("train.max_iter=1", folder="first"))
    state = torch.load(tmp_path / "first" / "model_final.pth", weights_only=True)
    for name in ("class_head.weight", "class_head.bias"):
        state["model"][name] = state["model"][name][:2]
    torch.save(state, tmp_path / "two_classes.pth")
    options = ["train.max_iter=1", f"train.init_checkpoint={tmp_path / 'two_classes.pth'}"]
    with pytest.raises(ValueError, match=r"train.init_allow_mismatch=True"):
        train(toy_config(*options, folder="second"))
    train(toy_config(*options, "train.init_allow_mismatch=True", folder="second"))


def test_a_run_with_a_loaded_and_frozen_encoder(toy_config, tmp_path):
    source = tiny_detector("dino", seed=5)
    Checkpointer(source, str(tmp_path), class_names=["a", "b", "c", "d", "e"]).save("source")
    options = ["train.max_iter=2", f"train.init_checkpoint={tmp_path / 'source.pth'}"]
    options += [f"train.{key}=[backbone,neck,encoder]" for key in ("init_parts", "freeze")]
    train(toy_config(*options, config=DINO_CONFIG))
    content = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)
    assert content["class_names"] == list(CLASS_NAMES[:6])
    average = {name.removeprefix("module."): value for name, value in content["ema"].items()}
    for name, value in content["model"].items():
        loaded = name.startswith(("backbone.", "neck.", "encoder."))
        assert not loaded or torch.equal(value, source.state_dict()[name]), name
        assert not loaded or torch.equal(average[name], value), name
    assert not torch.equal(content["model"]["decoder.norm.weight"], source.state_dict()["decoder.norm.weight"])


def test_parts_without_a_file_are_refused(toy_config):
    with pytest.raises(ValueError, match=r"init_parts names backbone, but there is no file to load them from"):
        train(toy_config("train.init_parts=[backbone]"))
    with pytest.raises(ValueError, match=r"init_parts names 'encoder', but the model's parts are backbone"):
        train(toy_config("train.init_parts=[encoder]"))


def test_a_class_map_belongs_to_surgery_and_to_its_file(toy_config, source):
    switch = "train.init_class_map=objects365_to_coco"
    with pytest.raises(ValueError, match=r"has no effect without train\.init_surgery=True"):
        train(toy_config(*SWITCHES, source[1], switch, config=DINO_CONFIG))
    with pytest.raises(ValueError, match=r"is for files of 365 classes .* this one has 5: leave it out"):
        train(toy_config(*SWITCHES, source[1], switch, "train.init_surgery=True", config=DINO_CONFIG))
