"""What a step with NaN or infinity leaves behind."""

import re
import runpy
import sys

import pytest
import torch
from torch import nn

from querydet.engine import NonFiniteError, build_model, train
from querydet.engine.faults.replay import load_dump, replay
from querydet.engine.faults.running_statistics import RunningStatistics
from tests.engine.conftest import DINO_CONFIG, ROOT
from tests.engine.test_train_net import read_checkpoint, read_metrics

FEW = ["train.max_iter=4", "train.log_period=1"]


def run_tool(monkeypatch, *arguments):
    """Runs ``tools/replay_step.py`` in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["replay_step.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools" / "replay_step.py"), run_name="__main__")
    return end.value.code


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


def test_the_step_is_repeated_with_its_noise_and_dropout(toy_config, tmp_path, monkeypatch):
    options = [*FEW, "model.dropout=0.3"]
    train(toy_config(*options, folder="whole"))
    with pytest.raises(NonFiniteError):
        train(toy_config(*options, "model.nan_at=3"))
    (path,) = (tmp_path / "run").glob("nonfinite_0000002_rank0.pt")
    lines = replay(build_model(toy_config(*options)), load_dump(str(path)))
    expected = read_metrics(tmp_path / "whole")[2]
    for name in ("loss_box", "loss_class"):
        assert f"{name} = {torch.tensor(expected[name]).item():.6g}" in lines
    assert run_tool(monkeypatch, path, "--config-file", str(ROOT / "tests/engine/toy_config.py")) == 1


def test_the_dump_can_be_switched_off_and_another_file_is_refused(toy_config, tmp_path):
    with pytest.raises(NonFiniteError):
        train(toy_config(*FEW, "model.nan_at=2", "train.dump_nonfinite=False"))
    assert not list((tmp_path / "run").glob("nonfinite*"))
    with pytest.raises(ValueError, match="is no dump of a training step"):
        load_dump(str(tmp_path / "run" / "model_0000000.pth"))


def test_a_step_that_is_left_out_leaves_no_trace_in_norms():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    statistics = RunningStatistics(model)
    model(torch.rand(2, 3, 4, 4))
    before = [buffer.clone() for buffer in model.buffers()]
    statistics.keep()
    model(torch.full((2, 3, 4, 4), torch.nan))
    assert not model[1].running_mean.isfinite().all()
    statistics.restore()
    assert all(map(torch.equal, before, model.buffers()))
