"""Instability between files, by hand, and between checkpoints of a real detector."""

import json

import pytest
import torch

from querydet.config import load_config
from querydet.engine import build_model
from querydet.evaluation.instability import ImageMatching, Matching, save_matching
from tests.engine.conftest import DINO_CONFIG


@pytest.fixture
def main(cli):
    """The command."""
    return cli("compare_matching").main


@pytest.fixture
def kept(tmp_path):
    """A run that kept three matchings of two images with 2 and 1 objects."""
    pairs = [({1: 0, 2: 1}, {0: 0}), ({2: 0, 1: 1}, {0: 0}), ({2: 0, 1: 1}, {5: 0})]
    for number, (first, second) in enumerate(pairs):
        images = {1: ImageMatching(first, 2), 2: ImageMatching(second, 1)}
        save_matching(Matching("query", images), str(tmp_path / "matching" / f"matching_{number:07d}.json"))
    return tmp_path


def measured(path):
    return [(row["IS"], row["IS_relative"], row["objects"]) for row in json.loads(path.read_text())]


def test_a_run_that_kept_its_matchings(main, kept, capsys):
    path = kept / "out.json"
    # two queries of the first image have swapped; then the object of the second moves from query 0 to 5
    assert main([str(kept), "--output", str(path)]) == 0
    assert measured(path) == [(1.0, pytest.approx(1 / 3), 1.5), (1.0, pytest.approx(1 / 3), 1.5)]
    text = capsys.readouterr().out
    assert "matching_0000002.json  matching/matching_0000001.json" in text
    assert "correspond by their number." in text
    assert main([str(kept), "--against-first", "--output", str(path)]) == 0
    assert measured(path) == [(1.0, pytest.approx(1 / 3), 1.5), (2.0, pytest.approx(2 / 3), 1.5)]
    files = [str(kept / "matching" / f"matching_{number:07d}.json") for number in (0, 2)]
    assert main([*files, "--output", str(path)]) == 0
    assert measured(path) == [(2.0, pytest.approx(2 / 3), 1.5)]


def test_checkpoints(main, toy_data, tmp_path):
    names = []
    for number in (0, 1):
        cfg = load_config(DINO_CONFIG, [f"train.seed={number}"])
        names.append(str(tmp_path / f"model_{number:07d}.pth"))
        torch.save({"model": build_model(cfg).state_dict()}, names[-1])
    again = str(tmp_path / "model_final.pth")
    torch.save(torch.load(names[1], weights_only=True), again)
    path, folder = tmp_path / "out.json", tmp_path / "kept"
    command = [str(tmp_path), "--config-file", DINO_CONFIG, "dataloader.test.batch_size=1"]
    command += ["--output", str(path), "--keep", str(folder)]
    assert main(command) == 0
    (first, *_, objects), (second, *_) = measured(path)
    assert 0 < first <= 2 * objects
    assert second == 0  # the same weights
    assert main([str(folder / f"model_{number:07d}.json") for number in (0, 1)] + ["--output", str(path)]) == 0
    assert measured(path)[0][0] == first
    with pytest.raises(ValueError, match="the checkpoint does not fit the model"):
        main([*names, "--config-file", DINO_CONFIG, "model.selection.num_queries=7"])


def test_what_is_missing_is_said(main, kept, capsys):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: give checkpoints"):
        main([str(kept / "nowhere"), str(kept)])
    (kept / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no matchings and no checkpoints.*train\.instability\.enabled=True"):
        main([str(kept / "empty")])
    single = str(kept / "matching" / "matching_0000000.json")
    with pytest.raises(SystemExit):
        main([single])
    assert "two states are needed to compare" in capsys.readouterr().err
    (kept / "model.pth").touch()
    with pytest.raises(FileNotFoundError, match=r"no config\.yaml beside .*give --config-file"):
        main([single, str(kept / "model.pth")])


def test_help(main, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "the instability score IS" in capsys.readouterr().out
