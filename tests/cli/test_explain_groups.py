"""``querydet groups`` on a checkpoint and a data set."""

import argparse
import json

import pytest
import torch
from PIL import Image

from querydet.config import load_config
from querydet.engine import build_model
from tests.engine.conftest import ROOT

CONFIG = str(ROOT / "tests" / "engine" / "group_config.py")


@pytest.fixture
def explain(cli, tmp_path, toy_data):
    path = tmp_path / "model.pth"
    torch.save({"model": build_model(load_config(CONFIG)).state_dict()}, path)

    def run(command, name, *options):
        output = tmp_path / "new" / name
        argv = [command, "--config-file", CONFIG, "--weights", str(path), "--output", str(output), *options]
        assert cli("explain_groups").main(argv) == 0
        return output

    return run


def test_average_precision_of_each_group_and_points_of_an_object(explain, capsys):
    found = json.loads(explain("ap", "groups.json", "train.device=cpu").read_text())
    assert list(found) == ["primary", "group1", "group2"]
    assert all("AP" in each["bbox"] for each in found.values())
    assert "on average" in capsys.readouterr().out
    picture = explain("points", "points.png", "--index", "1", "--object", "0", "train.device=cpu")
    assert Image.open(picture).size[0] > 200
    with pytest.raises(ValueError, match="there is no image 99: the test data has 0 to 2"):
        explain("points", "points.png", "--index", "99")
    with pytest.raises(ValueError, match="there is no object 50"):
        explain("points", "points.png", "--object", "50")


def test_masks_have_columns_beside_boxes(cli, monkeypatch, tmp_path, capsys):
    module, precision = cli("explain_groups"), {"AP": 12.5, "AP50": 25.0}
    results = [{"bbox": precision, "segm": {"AP": 10.5, "AP50": 20.0}}, {"bbox": precision, "segm": precision}]
    monkeypatch.setattr(module, "evaluate_groups", lambda *_: results)
    monkeypatch.setattr(module, "count_groups", lambda _: 2)
    monkeypatch.setattr(module, "instantiate", lambda _: None)
    monkeypatch.setattr(module, "combine", lambda _: None)
    args = argparse.Namespace(config_file=CONFIG, weights="x.pth", overrides=[], output=str(tmp_path / "groups.json"))
    module.explain_ap(argparse.Namespace(model=None), args)
    head, _, primary, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["group", "AP", "AP50", "mask", "AP", "mask", "AP50"]
    assert primary.split() == ["primary", "12.50", "25.00", "10.50", "20.00"]
