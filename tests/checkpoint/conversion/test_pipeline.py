"""From a published file to one of ours."""

import pytest
import torch

from querydet.analysis.flops import build_on_meta
from querydet.checkpoint.conversion.pipeline import convert_content, save_converted, save_weights
from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.weights import find_weights
from querydet.config import load_config, save_config
from tests.checkpoint.conversion.layouts import tiny
from tests.checkpoint.published import layouts, load_layout, make_state


@pytest.mark.parametrize("name", layouts())
def test_full_size_layout_covers_the_config_that_is_chosen(name):
    layout = load_layout(name)
    state = make_state(layout)
    converted = convert_content({"model": state})
    result = build_on_meta(converted.fit.cfg.model).load_state_dict(converted.state, strict=True, assign=True)
    assert not result.missing_keys
    assert not result.unexpected_keys
    conversion = converted.conversion
    assert {*conversion.mapped, *conversion.aliases, *conversion.dropped} == set(state)
    assert all(name.startswith("criterion.") for name in conversion.dropped)
    # every parameter of the file arrives, once
    values = {float(value.reshape(-1)[0]) for name, value in state.items() if name not in conversion.dropped}
    assert sorted(values) == sorted({float(value.reshape(-1)[0]) for value in converted.state.values()})


def test_chosen_config_is_a_complete_one(tmp_path):
    converted = convert_content({"model": make_state(load_layout("detrex_dino_r50_5scale"))})
    save_config(converted.fit.cfg, str(tmp_path / "config.yaml"))
    restored = load_config(str(tmp_path / "config.yaml"))
    build_on_meta(restored.model).load_state_dict(converted.state, assign=True)
    same = load_config(converted.fit.recipe, converted.fit.overrides())  # the changes that are printed
    save_config(same, str(tmp_path / "same.yaml"))
    assert (tmp_path / "same.yaml").read_text() == (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize("kind", [".pth", ".pkl", ".safetensors"])
def test_written_files_hold_the_weights_and_what_belongs_to_them(tmp_path, kind):
    converted = convert_content(tiny("dino_4scale"))
    written = save_weights(converted.state, str(tmp_path / f"model{kind}"), {"author": "me", **converted.extra()})
    assert written == list(dict.fromkeys([str(tmp_path / f"model{kind}"), str(tmp_path / "model.safetensors")]))
    for path in written:
        content = read_checkpoint(path)
        found = find_weights(content, path).state
        assert set(found) == set(converted.state)
        assert all(torch.equal(torch.as_tensor(found[name]), value) for name, value in converted.state.items())


def test_the_config_is_written_where_there_is_a_backbone(tmp_path):
    bare = convert_content(tiny("dino_4scale"))
    assert not bare.fit.backbone
    assert save_converted(bare, str(tmp_path / "bare.safetensors")) == [str(tmp_path / "bare.safetensors")]
    assert "the file has no backbone" in bare.report()


def test_other_destinations_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model\.onnx has to end in \.pkl, \.pth or \.safetensors"):
        save_weights({}, str(tmp_path / "model.onnx"), {"author": "me"})
    assert list(tmp_path.iterdir()) == []
