"""Runs that are asked to stop."""

import os
import signal
import time

import pytest

from querydet.config import load_config
from querydet.data import DetrDatasetMapper
from querydet.engine import train
from querydet.engine.faults.stopping import Stopped, StopRequest, exit_code
from tests.engine.conftest import CONFIG
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics

OPTIONS = ["train.max_iter=5", "train.log_period=1", "model.dropout=0.2", "train.eval_period=2it"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, toy_data):
    """The folder of the uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    train(load_config(CONFIG, [f"train.output_dir={folder}", *OPTIONS]))
    return folder


@pytest.fixture
def stopped(toy_config, monkeypatch):
    """Runs the toy until a signal reaches it; returns the exit code."""

    def run(place, **options):
        monkeypatch.setenv("TOY_KILL", place)
        monkeypatch.setattr("tests.engine.toy.ToyEvaluator.evaluations", 0)
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as stop:
            train(toy_config(*OPTIONS), **options)
        assert signal.getsignal(signal.SIGTERM) is before
        monkeypatch.delenv("TOY_KILL")
        return stop.value.code

    return run


@pytest.mark.parametrize(
    ("place", "code", "saved"),
    [
        ("step 3 SIGTERM", 143, "model_0000002.pth"),  # finishes its step; nothing was due
        ("step 2 SIGUSR1", 138, "model_0000001.pth"),  # an evaluation was due and is left to the next run
        ("image 0 SIGTERM", 143, "model_0000001.pth"),  # in the middle of an evaluation
        ("step 4 SIGINT", 130, "model_0000003.pth"),
        ("step 5 SIGTERM", 143, "model_final.pth"),  # the last step: only its evaluation is left
    ],
)
def test_saves_exits_and_resumes_as_if_nothing_had_been(toy_config, tmp_path, stopped, whole, place, code, saved):
    assert stopped(place) == code
    last = int(place.split()[1]) - 1 if place.startswith("step") else 1
    assert read_checkpoint(tmp_path / "run" / saved)["iteration"] == last
    assert (tmp_path / "run" / "last_checkpoint").read_text() == saved
    train(toy_config(*OPTIONS), resume=True)
    for name in ("model_final.pth", "model_best.pth"):
        assert_equal(*(read_checkpoint(folder / name) for folder in (tmp_path / "run", whole)))
    assert read_metrics(tmp_path / "run") == read_metrics(whole)


def test_a_request_while_the_disk_is_full_still_stops(tmp_path, stopped, monkeypatch, caplog):
    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("querydet.checkpoint.Checkpointer.save", fail)
    assert stopped("step 1 SIGTERM") == 143
    assert "The checkpoint cannot be written" in caplog.text


def test_without_anything_to_save_the_process_ends_at_once():
    with pytest.raises(Stopped) as stop:
        StopRequest().handle(signal.SIGTERM)
    assert stop.value.code == exit_code(signal.SIGTERM) == 143


def test_second_ctrl_c_ends_at_once_and_one_that_came_twice_is_one(monkeypatch):
    killed, clock = [], [100.0]
    monkeypatch.setattr("os.kill", lambda pid, signum: killed.append(signum))
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    handler = signal.getsignal(signal.SIGINT)
    try:
        request = StopRequest()
        request.graceful = True
        request.handle(signal.SIGINT)
        clock[0] += 0.1  # from the terminal and from the launcher
        request.handle(signal.SIGINT)
        assert not killed
        clock[0] += 5
        request.handle(signal.SIGINT)
        assert killed == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        request.handle(signal.SIGTERM)  # as often as Slurm likes
        assert request.signum == signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, handler)


class Freezing(DetrDatasetMapper):
    """Stops its process at a training or test image, always or once, and asks the run to stop a second later."""

    def __init__(self, *, freeze_at, mark="", **options):
        super().__init__(**options)
        self.freeze_at, self.mark = freeze_at, mark

    def __call__(self, record):
        if record["image_id"] == self.freeze_at and not (self.mark and os.path.exists(self.mark)):
            if self.mark:
                open(self.mark, "w").close()
            parent = os.getppid()
            if not os.fork():
                time.sleep(1)
                os.kill(parent, signal.SIGTERM)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().__call__(record)


def frozen(loader, mark=""):
    """Options with which a worker of a loader freezes."""
    node = f"dataloader.{loader}"
    return [
        f"{node}.num_workers=1",
        f"{node}.mapper._target_=tests.engine.faults.test_stopping.Freezing",
        f"{node}.mapper.freeze_at={'2' if loader == 'test' else '7'}",
        f"{node}.mapper.mark={mark}",
    ]


def stopped_soon(cfg):
    """Train until the request to stop, which a worker that is frozen must not hold up."""
    begin = time.monotonic()
    with pytest.raises(Stopped) as stop:
        train(cfg)
    assert stop.value.code == 143
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("times", ["once", "again and again"])
def test_a_request_while_a_worker_is_frozen_ends_with_the_step_or_the_one_before(toy_config, tmp_path, whole, times):
    mark = [tmp_path / "mark"] if times == "once" else []
    stopped_soon(toy_config(*OPTIONS, *frozen("train", *mark)))
    train(toy_config(*OPTIONS), resume=True)
    assert_equal(*(read_checkpoint(folder / "model_final.pth") for folder in (tmp_path / "run", whole)))


def test_a_request_while_a_worker_is_frozen_in_an_evaluation(toy_config, tmp_path, whole):
    stopped_soon(toy_config(*OPTIONS, *frozen("test")))
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_0000001.pth"
    train(toy_config(*OPTIONS), resume=True)
    assert read_metrics(tmp_path / "run") == read_metrics(whole)
