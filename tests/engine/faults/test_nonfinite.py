"""What a step with NaN or infinity leaves behind."""

import re

import pytest
import torch

from querydet.engine import NonFiniteError, train
from querydet.engine.faults.replay import load_dump
from tests.engine.conftest import DINO_CONFIG
from tests.engine.faults.replay_tool import run_tool
from tests.engine.test_train_net import read_checkpoint

FEW = ["train.max_iter=4", "train.log_period=1"]


def test_a_diverged_run_is_reported_saved_and_happens_again(toy_config, tmp_path, monkeypatch, capsys):
    options = [*FEW, "optimizer.lr=1e30"]
    with pytest.raises(NonFiniteError) as error:
        train(toy_config(*options, config=DINO_CONFIG))
    report = str(error.value)
    iteration = int(re.search(r"iteration (\d+)", report)[1])
    for words in (
        r"(logits|boxes) of (en|de)coder layer \d",
        r"\d{6}\.png",
        r"'other': 1e\+30",
        r"gradient norm of .*\d",
    ):
        assert re.search(words, report), report
    folder = tmp_path / "run"
    saved = read_checkpoint(folder / f"model_{iteration - 1:07d}.pth")
    assert saved["iteration"] == iteration - 1
    (dump,) = folder.glob("nonfinite_*.pt")
    assert all(torch.equal(saved["model"][name], value) for name, value in load_dump(str(dump))["model"].items())
    capsys.readouterr()
    assert run_tool(monkeypatch, dump, "--config-file", DINO_CONFIG) == 0
    printed = capsys.readouterr().out
    assert report.splitlines()[0] in printed
    assert re.search(r"NaN or infinite: \d+ of \d+ numbers in the output of ", printed)
    assert "It happens again" in printed


def test_the_dump_can_be_switched_off_and_another_file_is_refused(toy_config, tmp_path):
    with pytest.raises(NonFiniteError):
        train(toy_config(*FEW, "model.nan_at=2", "train.dump_nonfinite=False"))
    assert not list((tmp_path / "run").glob("nonfinite*"))
    with pytest.raises(ValueError, match="is no dump of a training step"):
        load_dump(str(tmp_path / "run" / "model_0000000.pth"))
