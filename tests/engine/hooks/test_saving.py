"""Checkpoints that cannot be written."""

import errno
import json

import pytest

from querydet.checkpoint import Checkpointer
from querydet.engine import train
from querydet.engine.hooks.saving import SaveError
from tests.engine.test_train_net import assert_equal, read_checkpoint

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
