"""Settings that no shape shows: the same in all versions, and refused with the key that sets them."""

from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate
from omegaconf import OmegaConf

from querydet.checkpoint import Checkpointer
from querydet.checkpoint.settings import KEY, read_settings, setting_differences, stored
from tests.models import tiny_config, tiny_detector

# recorded by version 0.1 of its GroupedTopKSelection in DINO
RECORDED = {
    "neck.position_embedding.temperature": 20.0,
    "neck.position_embedding.offset": 0.0,
    "heads.inverse_sigmoid_eps": 1e-3,
    "decoder.refine_boxes": True,
    "decoder.layers.0.order": ["self_attention", "cross_attention", "ffn"],
    "decoder.layers.0.cross_attention.num_heads": 4,
    "encoder.layers.0.attention.num_heads": 4,
    "selection.objectness": False,
}


ADDED = {"neck.position_embedding.temperature_x": 20.0}  # since then, and equal to the other temperature by default


def test_settings_of_old_files_are_those_that_the_same_model_has_today() -> None:
    detector = instantiate(tiny_config("group_dino"))
    assert read_settings(detector) == RECORDED | ADDED
    assert not setting_differences(detector, RECORDED)


@pytest.mark.parametrize("name", ["dino", "group_dino", "ms_h_detr"])
@pytest.mark.parametrize("path", ["selection.objectness", "neck.position_embedding.offset"])
def test_the_named_key_makes_the_difference_go(name: str, path: str) -> None:
    config = tiny_config(name)
    value = {"selection.objectness": name != "ms_h_detr", "neck.position_embedding.offset": 0.25}[path]
    (line,) = setting_differences(instantiate(config), {path: value})
    key = line.rpartition("set ")[2].partition("=")[0]
    OmegaConf.update(config, key.removeprefix("model."), value, force_add=False)
    criterion = config.criterion.rules.encoder
    criterion.class_agnostic = config.selection.get("selection", config.selection).objectness
    assert not setting_differences(instantiate(config), {path: value})


def test_a_setting_of_a_part_that_the_model_lacks_does_not_matter() -> None:
    settings = {"neck.position_embedding.temperature": 20.0, "selection.objectness": True}
    assert setting_differences(torch.nn.Linear(1, 1), settings) == []


def test_values_beside_the_weights_are_read_from_both_kinds_of_files() -> None:
    assert stored({"settings": {"a": 1}}, "settings", {}) == {"a": 1}
    assert stored({"metadata": {"settings": '{"a": [1, 2]}'}}, "settings", {}) == {"a": [1, 2]}
    assert stored({}, "settings", {"b": 2}) == {"b": 2}


def test_weights_of_other_settings_are_refused_unless_a_mismatch_is_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    detector = tiny_detector("dino")
    settings = {**read_settings(detector), "heads.inverse_sigmoid_eps": 1e-5}
    torch.save({"model": detector.state_dict(), KEY: settings}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"(?s)and be misread.*set model\.heads\.inverse_sigmoid_eps=1e-05"):
        Checkpointer(tiny_detector("dino")).load(str(tmp_path / "model.pth"))
    Checkpointer(tiny_detector("dino"), allow_mismatch=True).load(str(tmp_path / "model.pth"))
    assert "trained with other settings" in caplog.text
