"""Checkpoints and best models: which are kept, and what happens when one cannot be written."""

import errno
import json

import pytest
import torch

from querydet.checkpoint import Checkpointer
from querydet.engine import train
from querydet.engine.hooks.saving import SaveError
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics
from tests.engine.toy import ToyEvaluator

OPTIONS = ["train.checkpointer.period=1it", "train.log_period=1", "train.max_iter=5"]


@pytest.fixture
def full_disk(monkeypatch):
    """Makes the saves of some iterations fail."""
    save = Checkpointer.save

    def fail_in(*iterations):
        def fail(self, name, tag=True, **extra):
            if extra["iteration"] in iterations:
                raise OSError(errno.ENOSPC, "No space left on device")
            save(self, name, tag, **extra)

        monkeypatch.setattr(Checkpointer, "save", fail)

    return fail_in


def test_training_goes_on_without_a_checkpoint(toy_config, tmp_path, full_disk, caplog):
    train(toy_config(*OPTIONS, folder="whole"))
    full_disk(1, 2)
    train(toy_config(*OPTIONS))
    assert "Training goes on without a checkpoint" in caplog.text
    assert "Failed in a row: 2" in caplog.text
    assert sorted(path.name for path in (tmp_path / "run").glob("model_0*")) == [
        "model_0000000.pth",
        "model_0000003.pth",
    ]
    assert_equal(*(read_checkpoint(tmp_path / run / "model_final.pth")["model"] for run in ("whole", "run")))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    assert [line.get("failed_saves") for line in lines][:3] == [None, 1, 2]


@pytest.mark.parametrize(("iterations", "allowed", "last"), [((1, 2), 1, 2), ((1,), 0, 1), ((4,), 9, 4)])
def test_a_run_that_cannot_save_stops(toy_config, tmp_path, full_disk, iterations, allowed, last):
    full_disk(*iterations)
    with pytest.raises(SaveError, match=rf"checkpoint of iteration {last} cannot be written to .*run: .*No space left"):
        train(toy_config(*OPTIONS, f"train.checkpointer.max_failed_saves={allowed}"))
    earlier = sorted((tmp_path / "run").glob("model_0*"))[-1]
    assert read_checkpoint(earlier)["iteration"] == min(iterations) - 1


def test_best_model_that_cannot_be_written_is_tried_again(toy_config, tmp_path, monkeypatch):
    save, failures = Checkpointer.save, [True]

    def fail(self, name, tag=True, **extra):
        if name == "model_best" and failures:
            raise OSError(failures.pop(), "No space left on device")
        save(self, name, tag, **extra)

    monkeypatch.setattr(Checkpointer, "save", fail)
    train(toy_config("train.eval_period=1it", "train.max_iter=4", "optimizer.lr=0.1"))
    assert read_checkpoint(tmp_path / "run" / "model_best.pth")["iteration"] > 0


def test_only_the_newest_checkpoints_are_kept(toy_config, tmp_path):
    options = ["train.checkpointer.period=1it", "train.checkpointer.max_to_keep=2"]
    train(toy_config(*options, "train.max_iter=4"))
    train(toy_config(*options, "train.max_iter=6"), resume=True)
    # Iterations 3 and 5, the last ones of their runs, are in model_final.pth.
    assert {path.name for path in (tmp_path / "run").glob("model_0*")} == {"model_0000002.pth", "model_0000004.pth"}


def test_best_model_survives_a_restart(toy_config, tmp_path):
    options = ["train.eval_period=1it", "train.log_period=1", "optimizer.lr=0.1"]
    train(toy_config(*options, "train.max_iter=4", folder="whole"))
    train(toy_config(*options, "train.max_iter=2", folder="parts"))
    train(toy_config(*options, "train.max_iter=4", folder="parts"), resume=True)
    whole, parts = (
        torch.load(tmp_path / folder / "model_final.pth", weights_only=True)["trainer"]["hooks"]["BestCheckpointer"]
        for folder in ("whole", "parts")
    )
    assert whole == parts
    history = [line["bbox/AP"] for line in read_metrics(tmp_path / "whole") if "bbox/AP" in line]
    assert whole["best"] == pytest.approx(max(history[:3]))


def test_nothing_to_evaluate_is_not_the_best_result(toy_config, tmp_path, monkeypatch):
    monkeypatch.setattr(ToyEvaluator, "evaluate", lambda self: {"bbox": {"AP": -1.0}})
    train(toy_config("train.max_iter=1"))
    assert not (tmp_path / "run" / "model_best.pth").exists()
