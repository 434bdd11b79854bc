"""The command of the data doctor."""

import json

import pytest

from tests.data.sick import make_sick, save, write


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


def test_a_repaired_file_passes(cli, tmp_path, capsys):
    save(tmp_path / "a.png")
    path = write(tmp_path, [("a.png", 40, 30)], [(0.0, "3", [1, 2, 3, 4], {"iscrowd": None})])
    check, arguments = cli("check_dataset"), ["--annotations", path, "--images", str(tmp_path)]
    before = (tmp_path / "data.json").read_bytes()
    assert check.main(arguments) == 1
    fixed = str(tmp_path / "fixed.json")
    assert check.main([*arguments, "--write-fixed", fixed]) == 0
    printed = capsys.readouterr().out
    assert "image_id is an integer now (1)" in printed
    assert f"wrote {fixed}: it passes the check" in printed
    assert check.main(["--annotations", fixed, "--images", str(tmp_path)]) == 0
    with pytest.raises(ValueError, match="would overwrite its input"):
        check.main([*arguments, "--write-fixed", path])
    assert (tmp_path / "data.json").read_bytes() == before


def test_what_cannot_be_repaired_is_listed(cli, tmp_path, capsys):
    path = write(tmp_path, [("gone.png", 40, 30)], [(0, 3, [1, 2, 3, 4], {})])
    arguments = ["--annotations", path, "--images", str(tmp_path), "--write-fixed", str(tmp_path / "fixed.json")]
    assert cli("check_dataset").main(arguments) == 1
    assert "image file does not exist (1): gone.png" in capsys.readouterr().out


def test_repairs_are_of_one_file(cli, config, tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli("check_dataset").main(["--config-file", config, "--write-fixed", str(tmp_path / "fixed.json")])
    assert "--write-fixed repairs one file" in capsys.readouterr().err


def test_a_config_without_test_data(cli, config, capsys):
    for switch in ("dataloader.test=null", "dataloader.test.dataset=null"):
        assert cli("check_dataset").main(["--config-file", config, switch]) == 0
        assert "test: " not in capsys.readouterr().out


def test_masks_are_checked_where_they_are_used(cli, config, tmp_path, capsys):
    save(tmp_path / "a.png")
    broken = {"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}
    boxes = [(0, 3, [1, 2, 3, 4], broken), (0, 3, [5, 5, 9, 9], {"segmentation": [[5, 5, 14, 5, 14, 14]]})]
    check = cli("check_dataset")
    arguments = ["--annotations", write(tmp_path, [("a.png", 40, 30)], boxes), "--images", str(tmp_path)]
    assert check.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 boxes, 2 classes, 1 masks" in printed
    assert "odd number" in printed
    assert check.main([*arguments, "--masks"]) == 1
    capsys.readouterr()
    fixed = ["--write-fixed", str(tmp_path / "fixed.json")]
    assert check.main([*arguments, *fixed]) == 0
    assert check.main([*arguments, *fixed, "--masks"]) == 1
    assert "odd number of coordinates" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        check.main(["--config-file", config, "--masks"])
    assert "--masks goes with --annotations" in capsys.readouterr().err
