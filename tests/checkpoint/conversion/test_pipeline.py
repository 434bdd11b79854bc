"""From a published file to one of ours."""

import pytest

from querydet.analysis.flops import build_on_meta
from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.config import load_config, save_config
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
    assert not conversion.dropped
    # every parameter of the file arrives, once
    values = {float(value.reshape(-1)[0]) for value in state.values()}
    assert sorted(values) == sorted({float(value.reshape(-1)[0]) for value in converted.state.values()})


def test_chosen_config_is_a_complete_one(tmp_path):
    converted = convert_content({"model": make_state(load_layout("detrex_dino_r50_5scale"))})
    save_config(converted.fit.cfg, str(tmp_path / "config.yaml"))
    restored = load_config(str(tmp_path / "config.yaml"))
    build_on_meta(restored.model).load_state_dict(converted.state, assign=True)
    same = load_config(converted.fit.recipe, converted.fit.overrides())  # the changes that are printed
    save_config(same, str(tmp_path / "same.yaml"))
    assert (tmp_path / "same.yaml").read_text() == (tmp_path / "config.yaml").read_text()
