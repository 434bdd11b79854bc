"""Every option of the released command lines is read, has one value that is supported, or is known not to matter."""

import argparse
import json
from typing import Any

import pytest

from querydet.checkpoint.conversion.code_bases import DN_DENSE, OFFICIAL, CodeBase, code_base_of
from querydet.checkpoint.conversion.convert import convert_state_dict
from querydet.checkpoint.conversion.options import read_options
from querydet.checkpoint.conversion.pipeline import convert_content
from tests.parity.fixture import FOLDER, Fixture

# Each holds the whole command line of its repository, configuration files included.
RECORDED = [
    "deformable_two_stage",
    "deta",
    "dino_4scale",
    "dino_5scale",
    "dn_dab_deformable",
    "group_detr_official",
    "ms_detr_pp",
]

pytestmark = pytest.mark.skipif(
    any(not (FOLDER / f"{name}.npz").exists() for name in RECORDED), reason="no parity fixtures in QUERYDET_PARITY_DIR"
)


def base_of(name: str) -> tuple[CodeBase, dict[str, Any]]:
    fixture = Fixture.load(name)
    return code_base_of(fixture.config, convert_state_dict(fixture.group("state/")).state), fixture.config


def other_values(value: Any, allowed: tuple[Any, ...]) -> list[Any]:
    """Values of the same kind that are not among those allowed."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return ["learned", "something else"]
    return [value * 2 + 3 if isinstance(value, int | float) else 5, 0.5] if value not in (None,) else [3]


@pytest.mark.parametrize("name", RECORDED)
def test_every_option_of_an_official_command_line_has_its_place(name: str) -> None:
    base, config = base_of(name)
    assert base.unknown(config) == []
    for option in config:
        places = [option in base.read, option in base.fixed, option in base.unused]
        assert places.count(True) == 1, option
    assert base.refusals(config) == []


@pytest.mark.parametrize("base", [*OFFICIAL, DN_DENSE], ids=lambda base: base.name)
def test_an_option_has_one_place(base: CodeBase) -> None:
    assert not set(base.read) & set(base.fixed)
    assert not (set(base.read) | set(base.fixed)) & base.unused


@pytest.mark.parametrize("name", RECORDED)
def test_other_values_of_what_no_part_computes_are_refused_by_name(name: str) -> None:
    fixture = Fixture.load(name)
    base, config = base_of(name)
    state = convert_state_dict(fixture.group("state/")).state
    flipped = 0
    for option, allowed in base.fixed.items():
        for value in other_values(allowed[0], allowed):
            if value in allowed:
                continue
            with pytest.raises(ValueError, match=f"{option}={value!r}"):
                read_options({"args": argparse.Namespace(**{**config, option: value})}, state=state)
            flipped += 1
    assert flipped >= len(base.fixed)


@pytest.mark.parametrize("name", RECORDED)
def test_other_values_of_what_does_not_matter_choose_the_same_detector(name: str) -> None:
    fixture = Fixture.load(name)
    base, config = base_of(name)
    changed = {option: "anything" for option in config if option in base.unused and option not in base.marks}
    state = fixture.group("state/")
    wanted = convert_content({"model": state, "args": argparse.Namespace(**config)})
    found = convert_content({"model": state, "args": argparse.Namespace(**{**config, **changed})})
    assert found.fit.cfg == wanted.fit.cfg


def test_options_that_no_released_code_has_are_named_in_a_note() -> None:
    fixture = Fixture.load("dino_4scale")
    notes: list[str] = []
    state = convert_state_dict(fixture.group("state/")).state
    read_options({"args": {**fixture.config, "my_option": 1}}, state=state, notes=notes)
    assert notes == ["the file has options that the released DINO has not, which were not read: my_option"]


def test_a_file_without_options_says_what_was_guessed() -> None:
    fixture = Fixture.load("deta")
    guessed = convert_content({"model": fixture.group("state/")}).report()
    assert "the file holds no options, and these were guessed, as released:" in guessed
    for part in ("temperature=10000.0", "NMSSelection", "NMSPostprocess", "num_heads=8"):
        assert part in guessed
    said = convert_content({"model": fixture.group("state/"), "args": argparse.Namespace(**fixture.config)}).report()
    assert "guessed" not in said


def test_options_of_a_config_of_transformers_are_refused_too(tmp_path) -> None:
    values = {"model_type": "deta", "activation_function": "gelu"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="activation_function='gelu'"):
        read_options({}, str(tmp_path / "model.safetensors"))
