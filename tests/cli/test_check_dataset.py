"""The command of the data doctor."""

import json

import pytest

from tests.data.sick import make_sick


@pytest.fixture
def sick(tmp_path):
    return make_sick(tmp_path)


def test_program(sick, cli, tmp_path, capsys):
    check = cli("check_dataset")
    arguments = ["--annotations", sick[0], "--images", sick[1], "--json", str(tmp_path / "out.json")]
    assert check.main(arguments) == 1
    printed = capsys.readouterr().out
    assert "The run would stop: see STOPS in data" in printed
    assert "cut.jpg" in printed
    assert len(json.loads((tmp_path / "out.json").read_text())["data"]["findings"]) == 15


def test_program_on_a_config(cli, config, capsys):
    check = cli("check_dataset")
    assert check.main(["--config-file", config]) == 0
    assert "train: " in capsys.readouterr().out
    assert check.main(["--config-file", config, "model.num_classes=4"]) == 1
    assert "wrong number of classes" in capsys.readouterr().out
