"""Learning rates of a run that is resumed with others."""

import pytest

from querydet.engine import train
from tests.engine.test_train_net import read_checkpoint, read_metrics


def test_resuming_takes_the_changed_options_of_the_optimizer(toy_config, tmp_path):
    train(toy_config("train.max_iter=2"))
    changed = ["optimizer.lr=0.5", "optimizer.weight_decay=0.25", "lr_multiplier.milestones=[0.5]"]
    train(toy_config("train.max_iter=3", "train.log_period=1", *changed), resume=True)
    (backbone, other) = read_checkpoint(tmp_path / "run" / "model_final.pth")["trainer"]["optimizer"]["param_groups"]
    assert (other["lr"], other["weight_decay"]) == (pytest.approx(0.05), 0.25)  # dropped after iteration 1
    assert backbone["lr"] == pytest.approx(0.005)
    assert read_metrics(tmp_path / "run")[-1]["lr"] == pytest.approx(0.005)  # of the larger group
