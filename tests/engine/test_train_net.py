"""``train_net.py`` as users run it, in processes of its own; some are forked, as new ones take seconds to start."""

import json
import signal

import pytest
import torch

from querydet.engine import train
from querydet.engine.hooks.history import CLOCK


def read_metrics(folder):
    """Lines of metrics.json without what a clock measured."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


def read_checkpoint(path):
    return torch.load(path, weights_only=True)


def assert_equal(left, right, where=""):
    """Bitwise equality of nested dicts and lists of tensors and numbers."""
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_equal(left[key], right[key], f"{where}/{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for index, pair in enumerate(zip(left, right, strict=True)):
            assert_equal(*pair, f"{where}/{index}")
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right), where
    else:
        assert left == right, where


def test_killed_and_resumed_equals_uninterrupted(toy_config, train_net, train_forked, tmp_path):
    # Dropout, image noise, an average, a drop of the learning rate and another number of data workers.
    options = ["model.dropout=0.2", "train.log_period=3", "train.checkpointer.max_to_keep=1"]
    with single_thread():
        train(toy_config(*options, folder="whole"))
    options = ["--num-gpus", "0", "--resume", f"train.output_dir={tmp_path / 'killed'}", *options]
    # Checkpoints follow iterations 3, 7 and 11. The first process dies in iteration 6. The second one repeats the
    # evaluation of iteration 3, has saved iteration 11 and dies in the evaluation of it, which is left to the third.
    for run, place in ((train_forked, "step 7"), (train_forked, "evaluation 3"), (train_net, "")):
        done = run(*options, "dataloader.train.num_workers=1", TOY_KILL=place)
        assert done.returncode == (-signal.SIGKILL if place else 0), done.stdout + done.stderr
    for name in ("model_final.pth", "model_best.pth"):
        assert_equal(read_checkpoint(tmp_path / "killed" / name), read_checkpoint(tmp_path / "whole" / name))
    assert read_metrics(tmp_path / "killed") == read_metrics(tmp_path / "whole")


TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")


@pytest.mark.parametrize("launcher", [(), pytest.param(TORCHRUN, marks=pytest.mark.slow)])
def test_two_processes_equal_one(toy_config, train_net, train_forked, tmp_path, launcher):
    # In the second step one of the processes has a NaN: both leave the step out.
    options = ["train.max_iter=3", "train.log_period=1", "model.nan_at=2", "train.max_nonfinite_steps=1"]
    train(toy_config(*options, folder="one"))
    options = ["--num-gpus", "0", f"train.output_dir={tmp_path / 'two'}", *options, "model.nan_rank=1"]
    done = train_net(*options, launcher=launcher) if launcher else train_forked("--num-processes", "2", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert [line["iteration"] for line in two] == [0, 1, 2]
    for line_of_one, line_of_two in zip(one, two, strict=True):
        assert line_of_two == pytest.approx(line_of_one, rel=1e-5)
    one, two = (read_checkpoint(tmp_path / folder / "model_final.pth")["model"] for folder in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-6)


class single_thread:
    """As in the processes that `train_net` starts: sums of several threads are rounded differently."""

    def __enter__(self):
        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_):
        torch.set_num_threads(self.threads)
