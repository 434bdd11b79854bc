"""Jobs for Slurm, tried with submitit's executor for this machine."""

import json
import os
import re
import signal
import time

import pytest

from querydet.cli import slurm_train

submitit = pytest.importorskip("submitit", reason="submitit is not installed")


def test_arguments_are_shared_between_the_job_and_the_training():
    words = (
        "--nodes 2 --gpus-per-node 4 --hours 0.5 --partition big --slurm qos=high --config-file c.py train.max_iter=3"
    )
    args, rest = slurm_train.parse_arguments(words.split())
    assert rest == ["--num-gpus", "1", "--resume", "--config-file", "c.py", "train.max_iter=3"]
    found = slurm_train.parameters(args)
    assert (found["nodes"], found["tasks_per_node"], found["gpus_per_node"], found["timeout_min"]) == (2, 4, 4, 30)
    assert (found["slurm_partition"], found["slurm_additional_parameters"]) == ("big", {"qos": "high"})


@pytest.mark.parametrize("words", [["--nodes", "0", "--config-file", "c.py"], ["--nodes", "1"], ["--slurm", "qos"]])
def test_wrong_arguments_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        slurm_train.parse_arguments(words)
    assert "usage" in capsys.readouterr().err


def test_a_job_that_is_queued_again_runs_the_same():
    job = slurm_train.TrainingJob(["--resume", "--config-file", "c.py"])
    again = job.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function.argv == job.argv


@pytest.fixture
def signals(monkeypatch):
    """What happens, in order, with handlers as submitit and a training would install them."""
    events = []
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    signal.signal(signal.SIGUSR2, lambda *_: events.append("requeued"))
    yield events
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_training_stops_before_the_job_is_queued_again(signals):
    def training():
        signal.signal(signal.SIGUSR1, lambda *_: signals.append("asked to stop"))
        signal.raise_signal(signal.SIGUSR2)
        signals.append("checkpoint")
        raise SystemExit(138)

    with pytest.raises(SystemExit), slurm_train.RequeueAfterCheckpoint():
        training()
    assert signals == ["asked to stop", "checkpoint", "requeued"]


def test_before_the_training_listens_the_job_is_queued_again_at_once(signals):
    with slurm_train.RequeueAfterCheckpoint():
        signal.raise_signal(signal.SIGUSR2)
        signals.append("ended")
    assert signals == ["requeued", "ended"]


def test_nothing_is_queued_again_without_a_signal(signals):
    with slurm_train.RequeueAfterCheckpoint():
        pass
    assert signals == []


@pytest.mark.slow
def test_a_job_of_two_processes_trains(config, tmp_path):
    folder = tmp_path / "run"
    words = [
        "--cluster",
        "local",
        "--folder",
        str(tmp_path / "logs"),
        "--gpus-per-node",
        "0",
        "--processes-per-node",
        "2",
    ]
    options = ["--config-file", config, f"train.output_dir={folder}", "train.max_iter=2", "train.log_period=1"]
    assert slurm_train.main([*words, *options]) == 0
    assert iterations(folder) == [0, 1]
    assert "Rank 1 of 2 processes" in (folder / "log.txt.rank1").read_text()


@pytest.mark.slow
def test_a_job_that_is_preempted_is_queued_again_and_goes_on(config, tmp_path):
    folder, last = tmp_path / "run", 600
    arguments = ["--num-gpus", "0", "--resume", "--config-file", config, f"train.output_dir={folder}"]
    options = [f"train.max_iter={last}", "train.log_period=1", "train.eval_period=0", "train.checkpointer.period=0"]
    executor = submitit.LocalExecutor(str(tmp_path / "logs"))
    executor.update_parameters(timeout_min=9)
    job = executor.submit(slurm_train.TrainingJob([*arguments, *options]))
    deadline = time.monotonic() + 300
    while len(iterations(folder)) < 5:
        assert time.monotonic() < deadline, job.stderr()
        assert not job.done(), job.stderr()
        time.sleep(0.1)
    os.kill(json.loads((folder / "run.lock").read_text())["pid"], signal.SIGUSR2)
    job.result()
    assert "Requeued job" in job.stderr() + job.stdout()
    (resumed,) = re.findall(r"Starting training from iteration ([1-9]\d*)", (folder / "log.txt").read_text())
    assert 5 <= int(resumed) < last
    assert iterations(folder) == list(range(last))


def iterations(folder):
    """Those in metrics.json."""
    path = folder / "metrics.json"
    return [json.loads(line)["iteration"] for line in path.read_text().splitlines()] if path.exists() else []
