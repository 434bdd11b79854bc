"""The command of the data doctor."""

import json
import os

import pytest
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from omegaconf import OmegaConf

from querydet.data import first, join_datasets, load_objects365, without_first
from querydet.data.objects365 import MISSING_IMAGES
from tests.data.objects365 import make_content
from tests.data.objects365 import write as write_objects365
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


def test_parts_of_a_config_are_examined_without_the_images_that_are_left_out(cli, tmp_path, capsys):
    """Of two joined files and their first images, in the way of Objects365."""
    train, val = make_content([1, 2, 3]), make_content([4, 5, 6, 7])
    train["images"][0]["file_name"] = f"images/v2/{MISSING_IMAGES[0]}"
    paths = {split: write_objects365(tmp_path, content, split) for split, content in (("train", train), ("val", val))}
    os.remove(os.path.join(paths["train"][1], MISSING_IMAGES[0]))
    nodes = {split: L(load_objects365)(annotations=each[0], images=each[1]) for split, each in paths.items()}
    joined = L(join_datasets)(datasets=[nodes["train"], L(without_first)(dataset=nodes["val"], count=2)])
    cfg = {"dataloader": {"train": {"dataset": joined}, "test": {"dataset": L(first)(dataset=nodes["val"], count=2)}}}
    LazyConfig.save(OmegaConf.create(cfg, flags={"allow_objects": True}), str(tmp_path / "config.yaml"))
    report = str(tmp_path / "out.json")
    assert cli("check_dataset").main(["--config-file", str(tmp_path / "config.yaml"), "--json", report]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert {label: (each["images"], each["objects"]) for label, each in found.items()} == {
        "train 1": (2, 6),
        "train 2": (2, 6),
        "test": (2, 6),
    }
    assert all("image is also in the training data" not in each["findings"] for each in found.values())
    assert "train 2: " in capsys.readouterr().out
    os.remove(os.path.join(paths["val"][1], "patch0", "objects365_v1_00000006.jpg"))
    assert cli("check_dataset").main(["--config-file", str(tmp_path / "config.yaml")]) == 1
    assert "see STOPS in train 2" in capsys.readouterr().out
