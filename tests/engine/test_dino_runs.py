"""The real DINO under the trainer: predictions that are NaN, two processes, killed and resumed."""

import signal

import pytest
import torch

from querydet.engine import NonFiniteError, train
from tests.engine.conftest import DINO_CONFIG
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics, single_thread

FEW = ["train.max_iter=3", "train.log_period=1", "train.checkpointer.period=1it", "optimizer.lr=0.001"]


def test_nan_predictions_stop_the_run_and_are_named(toy_config, tmp_path):
    with pytest.raises(NonFiniteError, match=r"iteration 1: predictions are NaN or infinite: logits of .*png") as error:
        train(toy_config(*FEW, "model.backbone.nan_at=2", config=DINO_CONFIG))
    assert "train.max_nonfinite_steps=0 are allowed" in str(error.value)
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["model_0000000.pth"]


def test_nan_predictions_can_be_left_out(toy_config, tmp_path):
    train(toy_config(*FEW, "model.backbone.nan_at=2", "train.max_nonfinite_steps=1", config=DINO_CONFIG))
    before, after, later = (
        read_checkpoint(tmp_path / "run" / name)["model"]
        for name in ("model_0000000.pth", "model_0000001.pth", "model_final.pth")
    )
    assert_equal(before, after)
    assert any(not torch.equal(value, later[name]) for name, value in after.items())
    assert read_metrics(tmp_path / "run")[1]["nonfinite_steps"] == 1


@pytest.mark.slow
def test_two_processes_equal_one_and_agree_on_a_step_to_leave_out(toy_config, train_net, tmp_path):
    options = [*FEW, "model.backbone.nan_at=2", "train.max_nonfinite_steps=1"]
    train(toy_config(*options, folder="one", config=DINO_CONFIG))
    processes = ["--num-gpus", "0", "--num-processes", "2", f"train.output_dir={tmp_path / 'two'}"]
    done = train_net(*processes, *options, "model.backbone.nan_rank=1", config=DINO_CONFIG)
    assert done.returncode == 0, done.stderr
    assert "Step left out, 1 of at most 1: iteration 1: predictions are NaN" in (tmp_path / "two/log.txt").read_text()
    one, two = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert [line["iteration"] for line in two] == [0, 1, 2]
    for line_of_one, line_of_two in zip(one, two, strict=True):
        assert line_of_two == pytest.approx(line_of_one, rel=1e-3)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(toy_config, train_net, tmp_path):
    options = ["train.max_iter=6", "train.log_period=1", "train.checkpointer.period=2it", "train.eval_period=3it"]
    with single_thread():
        train(toy_config(*options, folder="whole", config=DINO_CONFIG))
    for place in ("step 4", ""):
        arguments = ["--num-gpus", "0", "--resume", f"train.output_dir={tmp_path / 'killed'}", *options]
        done = train_net(*arguments, config=DINO_CONFIG, TOY_KILL=place)
        assert done.returncode == (-signal.SIGKILL if place else 0), done.stderr
    for name in ("model_final.pth", "model_best.pth"):
        assert_equal(read_checkpoint(tmp_path / "killed" / name), read_checkpoint(tmp_path / "whole" / name))
    assert read_metrics(tmp_path / "killed") == read_metrics(tmp_path / "whole")
