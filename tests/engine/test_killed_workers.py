"""Runs whose data workers are killed."""

import pytest

from querydet.data.workers import WorkerError
from querydet.engine import train
from tests.engine.test_train_net import assert_equal, read_checkpoint

FEW = ["train.max_iter=12", "train.log_period=1"]  # more than a worker loads ahead


def test_a_killed_worker_changes_nothing(toy_config, tmp_path, monkeypatch, caplog):
    train(toy_config(*FEW, folder="whole"))
    monkeypatch.setenv("TOY_KILL", "step 2 worker")
    train(toy_config(*FEW, "dataloader.train.num_workers=1"))
    assert "was killed by SIGKILL; the next batch is of" in caplog.text
    assert_equal(*(read_checkpoint(tmp_path / run / "model_final.pth") for run in ("whole", "run")))


def test_workers_that_fail_too_often_end_the_run_with_a_checkpoint(toy_config, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_KILL", "step 2 worker")
    options = ["dataloader.train.num_workers=1", "dataloader.train.worker_restarts=0", "train.max_iter=9"]
    with pytest.raises(WorkerError, match="worker_restarts=0 are allowed"):
        train(toy_config(*options))
    # what had been loaded was used
    saved = (tmp_path / "run" / "last_checkpoint").read_text()
    assert 1 <= read_checkpoint(tmp_path / "run" / saved)["iteration"] < 8
