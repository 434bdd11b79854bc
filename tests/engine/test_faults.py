"""Faults in real ``train_net.py`` processes; `tests.engine.kill_loop` does the same at random moments."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from querydet.checkpoint.seal import damage
from tests.engine.conftest import CONFIG, ROOT
from tests.engine.kill_loop import descendants, loop, parse
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics

OPTIONS = ["train.max_iter=6", "train.log_period=1", "train.checkpointer.period=2it", "train.eval_period=4it"]
TWO = ["--num-gpus", "0", "--num-processes", "2", "--resume"]
pytestmark = pytest.mark.slow


@pytest.fixture
def start(tmp_path):
    """Starts ``train_net.py`` on the toy config; the output goes to ``<folder>.log``."""
    started = []

    def run(folder, *arguments, options=OPTIONS, environment=None, **popen):
        command = [sys.executable, str(ROOT / "train_net.py"), "--config-file", CONFIG, *arguments]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(environment or {})}
        with open(tmp_path / f"{folder}.log", "ab") as log:
            started.append(
                subprocess.Popen(
                    [*command, f"train.output_dir={tmp_path / folder}", *options],
                    **{"env": variables, "stdout": log, "stderr": log, **popen},
                )
            )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def log(tmp_path, folder):
    return (tmp_path / f"{folder}.log").read_text()


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pids):
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}") and "\nState:\tZ" not in status(pid)]


def status(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return file.read()
    except OSError:
        return "\nState:\tZ"


def assert_same_run(tmp_path, first, second):
    for name in ("model_final.pth", "model_best.pth"):
        assert_equal(*(read_checkpoint(tmp_path / folder / name) for folder in (first, second)))
    assert read_metrics(tmp_path / first) == read_metrics(tmp_path / second)


def test_two_processes_stopped_killed_and_resumed_equal_two_that_were_not(start, tmp_path):
    """With data workers: a signal to one process in a step and to one in an evaluation, and a dead process."""
    workers = [*TWO, "dataloader.train.num_workers=1"]
    assert start("whole", *workers).wait(200) == 0
    for place, code in (("step 2 SIGUSR1 1", 138), ("image 0 SIGTERM 1", 143), ("step 1 SIGKILL 1", 1), ("", 0)):
        begin = time.monotonic()
        process = start("run", *workers, environment={"TOY_KILL": place})
        assert process.wait(200) == code, (place, log(tmp_path, "run"))
        assert time.monotonic() - begin < 100
    assert "rank 1 (process" in log(tmp_path, "run")
    assert "was killed by SIGKILL; the other processes of the run were ended" in log(tmp_path, "run")
    assert_same_run(tmp_path, "run", "whole")


def test_resumed_in_another_number_of_processes(start, tmp_path):
    """The same images with the same noise in the same steps; sums are rounded in another order."""
    assert start("whole", "--num-gpus", "0").wait(100) == 0
    assert start("run", *TWO, environment={"TOY_KILL": "step 4 SIGKILL 0"}).wait(200) == 1
    assert start("run", "--num-gpus", "0", "--resume", environment={"TOY_KILL": "step 2 SIGTERM"}).wait(100) == 143
    assert start("run", *TWO).wait(200) == 0
    lines = [read_metrics(tmp_path / name) for name in ("run", "whole")]
    assert [line["iteration"] for line in lines[0]] == [0, 1, 2, 3, 4, 5]
    for line, other in zip(*lines, strict=True):
        assert line == pytest.approx(other, rel=1e-5)


def test_nothing_outlives_the_launcher_and_a_stopped_run_exits_within_seconds(start, tmp_path):
    slow = {"TOY_SLOW": "0.3"}
    arguments = [*TWO, "dataloader.train.num_workers=1"]
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        process = start("run", *arguments, environment=slow, options=["train.max_iter=10000", "train.log_period=1"])
        metrics = tmp_path / "run" / "metrics.json"
        size = metrics.stat().st_size if metrics.exists() else 0
        wait_for(lambda: metrics.exists() and metrics.stat().st_size > size + 300)  # noqa: B023
        below = descendants(process.pid)
        assert len(below) >= 4
        begin = time.monotonic()
        process.send_signal(signum)
        assert process.wait(60) == code
        wait_for(lambda: not alive(below), 10)  # noqa: B023
        assert time.monotonic() - begin < 20
    (newest,) = [(tmp_path / "run" / "last_checkpoint").read_text()]
    assert damage(str(tmp_path / "run" / newest)) is None


def test_second_run_in_one_folder_is_refused(start, tmp_path):
    first = start("run", "--num-gpus", "0", environment={"TOY_SLOW": "0.2"}, options=["train.max_iter=10000"])
    wait_for(lambda: (tmp_path / "run" / "metrics.json").exists())
    config = (tmp_path / "run" / "config.yaml").read_bytes()
    changed = [f"train.output_dir={tmp_path / 'run'}", "train.seed=3"]
    for arguments in (["--num-gpus", "0"], ["--num-gpus", "0", "--resume"]):
        second = subprocess.run(
            [
                sys.executable,
                str(ROOT / "train_net.py"),
                "--config-file",
                CONFIG,
                "--num-gpus",
                "0",
                *arguments,
                *changed,
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert f'in use by another run, {{"pid": {first.pid}' in second.stderr
    assert (tmp_path / "run" / "config.yaml").read_bytes() == config
    assert first.poll() is None


def test_full_disk_costs_a_checkpoint_and_not_the_run(start, tmp_path):
    """The largest file that may be written is smaller than a checkpoint, for a while."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, resource.RLIM_INFINITY))

    assert start("run", "--num-gpus", "0", options=["train.max_iter=2", *OPTIONS[1:]]).wait(100) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.pth")}
    assert min(map(len, before.values())) > 9000
    options = ["train.max_iter=9", *OPTIONS[1:]]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "preexec_fn": limit}
    full = start("run", "--num-gpus", "0", "--resume", options=options, **pipe)
    printed, _ = full.communicate(timeout=100)
    assert full.returncode == 1
    failed = re.findall(r"Training goes on without a checkpoint: the checkpoint of iteration (\d)", printed)
    assert set(failed) == {"3", "5", "7"}
    assert "the last one of a run never" in printed
    assert "File too large" in printed
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.pth")} == before
    assert start("run", "--num-gpus", "0", "--resume", options=options).wait(100) == 0
    assert start("whole", "--num-gpus", "0", options=options).wait(100) == 0
    assert_equal(*(read_checkpoint(tmp_path / run / "model_final.pth")["model"] for run in ("run", "whole")))


def test_a_bare_machine_trains(start, tmp_path):
    """No HOME, no known user, no cache that can be written, the C locale, a clock that goes backwards, odd names."""
    names = tmp_path / "site"
    names.mkdir()
    (names / "sitecustomize.py").write_text(
        "import time\nreal, begin = time.time, time.time()\ntime.time = lambda: begin - 50 * (real() - begin) - 1e8\n"
    )
    nowhere = "/proc/nowhere"
    environment = {
        **{key: os.environ[key] for key in ("PATH", "QUERYDET_TOY_DATA") if key in os.environ},
        **{"PYTHONPATH": f"{names}:{ROOT}", "OMP_NUM_THREADS": "1", "LC_ALL": "C"},
        **{"FVCORE_CACHE": nowhere, "XDG_CACHE_HOME": nowhere, "TORCH_HOME": nowhere},
        "TMPDIR": str(tmp_path),
    }
    environment["QUERYDET_TOY_DATA"] = str(tmp_path / "größe")
    user = {"user": 54321, "group": 54321} if os.geteuid() == 0 and public(tmp_path) else {}
    for arguments in (["train.max_iter=3"], ["--resume", "train.max_iter=6"]):
        process = start("läuft", "--num-gpus", "0", *arguments, options=OPTIONS[1:], env=environment, **user)
        assert process.wait(150) == 0, log(tmp_path, "läuft")
    assert "Traceback" not in log(tmp_path, "läuft")
    assert start("whole", "--num-gpus", "0").wait(100) == 0
    assert_equal(*(read_checkpoint(tmp_path / run / "model_final.pth")["model"] for run in ("läuft", "whole")))


def public(folder):
    """Opens a folder to everybody; says whether that is enough for another user to run this code in it."""
    folder.chmod(0o777)
    python = Path(os.path.realpath(sys.executable))
    parts = [*folder.parents, *ROOT.parents, ROOT, *Path(torch.__file__).parents, *python.parents]
    for part in folder.parents:
        if part.owner() == folder.owner() and "pytest" in part.name:
            part.chmod(0o755)
    return all(part.stat().st_mode & 0o005 == 0o005 for part in parts)


def test_processes_with_other_weights_are_found(start, tmp_path):
    process = start("run", *TWO, "train.check_ranks_period=1it", environment={"TOY_KILL": "step 3 weight 1"})
    assert process.wait(200) == 1
    assert "after iteration 2, process 1 has other weights than process 0 in 1 parameters: box_head.bias" in log(
        tmp_path, "run"
    )
    assert read_checkpoint(tmp_path / "run" / "model_0000001.pth")["iteration"] == 1
    assert not (tmp_path / "run" / "model_0000003.pth").exists()


def test_one_process_without_memory_takes_the_other_along(start, tmp_path):
    """In the forward pass and in the backward pass: computed image by image, in both processes."""
    assert start("whole", *TWO).wait(200) == 0
    for backward in (False, True):
        options = ["train.out_of_memory.action=split", "model.room=1", f"model.room_backward={backward}"]
        assert start(f"run{backward}", *TWO, *options).wait(200) == 0
        whole, run = (
            read_checkpoint(tmp_path / name / "model_final.pth")["model"] for name in ("whole", f"run{backward}")
        )
        for name, weight in whole.items():
            torch.testing.assert_close(run[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_loop_of_kills(processes):
    runs = loop(parse(["--minutes", "1.5", "--processes", str(processes), "--seed", str(processes)]))
    assert runs.compared >= 1
    assert sum(runs.kills.values()) >= 1
