"""Weights & Biases, without the package."""

import json
import sys
import types

import pytest

from querydet.engine import train


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


class FakeRun:
    """What wandb.init returns."""

    id = "abc123"

    def __init__(self):
        self.lines, self.finished = {}, False

    def log(self, values, step):
        self.lines.setdefault(step, {}).update(values)

    def finish(self):
        self.finished = True


def test_weights_and_biases_gets_the_same_numbers(toy_config, tmp_path, monkeypatch):
    runs, calls = [], []

    def init(**options):
        calls.append(options)
        runs.append(FakeRun())
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    options = ["train.log_period=1", "train.wandb.enabled=True", "train.wandb.mode=offline"]
    train(toy_config(*options, "train.max_iter=2"))
    train(toy_config(*options, "train.max_iter=4"), resume=True)
    assert [sorted(run.lines) for run in runs] == [[0, 1], [2, 3]]
    assert all(run.finished for run in runs)
    for line in lines_of(tmp_path / "run")[2:]:
        assert runs[1].lines[line["iteration"]]["loss_box"] == pytest.approx(line["loss_box"])
    assert [(call["project"], call["mode"], call["id"], call["name"]) for call in calls] == [
        ("querydet", "offline", None, "run"),
        ("querydet", "offline", "abc123", "run"),
    ]


def test_weights_and_biases_is_asked_for_but_not_installed(toy_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"train.wandb.enabled=True needs wandb: pip install wandb"):
        train(toy_config("train.max_iter=1", "train.wandb.enabled=True"))
