"""Kills training runs at random moments, resumes them, and compares the end with that of a run nobody touched.

    python -m tests.engine.kill_loop --minutes 30 --processes 2 --workers 1

Signals and moments are drawn at random, over the whole life of a process: while it starts, in steps, while checkpoints
are written, in evaluations, at the end; they reach the process that was started, or any process below it. After every
kill the pointer has to name a whole checkpoint. A run that has reached its end must equal the untouched one bit by bit:
weights, optimizer, average, schedule, best model, metrics. Then the next one begins.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from querydet.checkpoint.seal import damage
from tests.engine.conftest import CONFIG, DINO_CONFIG, ROOT
from tests.engine.test_train_net import assert_equal, read_checkpoint, read_metrics

SIGNALS = [signal.SIGKILL] * 5 + [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]
OPTIONS = ["train.checkpointer.period=2it", "train.eval_period=5it", "train.log_period=1", "train.max_iter=24"]
PATIENCE = 120.0  # seconds after which a process that should have ended hangs


class Runs:
    """Runs of one config.

    Args:
        folder: for output and data.
        options: from `parse`.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.random = random.Random(options.seed)
        self.kills: dict[str, int] = {}
        self.compared = 0

    def start(self, name: str) -> subprocess.Popen:
        """Starts ``train_net.py --resume``; its output is appended to a file."""
        options = self.options
        model = [] if options.dino else ["model.dropout=0.2"]
        command = [
            *[sys.executable, str(ROOT / "train_net.py"), "--config-file", DINO_CONFIG if options.dino else CONFIG],
            *["--num-gpus", "0", "--num-processes", str(options.processes), "--resume"],
            *[f"train.output_dir={self.folder / name}", f"dataloader.train.num_workers={options.workers}"],
            *[*OPTIONS, *model],
        ]
        variables = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "QUERYDET_TOY_DATA": str(self.folder / "data"),
            "TOY_SLOW": str(options.step),
        }
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen(command, env=variables, stdout=log, stderr=log)

    def untouched(self) -> float:
        """Runs to the end; returns the seconds that it took."""
        begin = time.monotonic()
        code = self.start("whole").wait()
        assert code == 0, (self.folder / "whole.log").read_text()
        return time.monotonic() - begin

    def kill_once(self, name: str, longest: float) -> bool:
        """Starts a run, sends it a signal at some moment; returns whether it had reached its end."""
        process = self.start(name)
        try:
            code = process.wait(self.random.uniform(0.2, longest))
        except subprocess.TimeoutExpired:
            sent = self.send(process.pid)
            code = process.wait(PATIENCE)
            self.kills[sent] = self.kills.get(sent, 0) + 1
            self.check_pointer(name)
            return False
        assert code == 0, f"{name} failed by itself with {code}:\n" + (self.folder / f"{name}.log").read_text()[-5000:]
        return True

    def send(self, pid: int) -> str:
        """Sends a random signal to a process, or to one below it."""
        signum = self.random.choice(SIGNALS)
        below = descendants(pid)
        to_child = bool(below) and self.random.random() < 0.3
        try:
            os.kill(self.random.choice(below) if to_child else pid, signum)
        except ProcessLookupError:  # ended in this moment
            return "too late"
        if to_child:
            # A worker may be replaced, or not care: then the run goes on, and is ended later.
            time.sleep(self.random.uniform(0, 3))
            os.kill(pid, signal.SIGTERM)
        return signum.name + (" to a process below" if to_child else "")

    def check_pointer(self, name: str) -> None:
        """What the pointer names is whole."""
        pointer = self.folder / name / "last_checkpoint"
        if pointer.exists():
            path = pointer.parent / pointer.read_text()
            assert damage(str(path)) is None, f"{path}: {damage(str(path))}"

    def compare(self, name: str) -> None:
        """Bit by bit with the untouched run."""
        whole, other = self.folder / "whole", self.folder / name
        for file in ("model_final.pth", "model_best.pth"):
            assert_equal(read_checkpoint(other / file), read_checkpoint(whole / file), file)
        assert read_metrics(other) == read_metrics(whole)
        self.compared += 1


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == str(pid):
            child = int(entry.parent.name)
            found += [child, *descendants(child)]
    return found


def loop(options: argparse.Namespace) -> Runs:
    """Kills until the time is over, then lets the last run reach its end."""
    folder = Path(tempfile.mkdtemp(prefix="querydet_kill_"))
    runs = Runs(folder, options)
    longest = 1.2 * runs.untouched()
    deadline = time.monotonic() + 60 * options.minutes
    number = 0
    while time.monotonic() < deadline:
        name, begin, kills = f"run{number}", time.monotonic(), sum(runs.kills.values())
        while not runs.kill_once(name, longest if time.monotonic() < deadline else 100 * longest):
            pass
        runs.compare(name)
        if sum(runs.kills.values()) == kills:  # the machine is less busy than it was at first
            longest = min(longest, 1.2 * (time.monotonic() - begin))
        shutil.rmtree(folder / name)
        number += 1
        print(f"{number} runs equal the untouched one after {runs.kills}", flush=True)
    shutil.rmtree(folder)
    return runs


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="data workers of every process")
    parser.add_argument("--seed", type=int, default=0, help="of moments and signals")
    parser.add_argument("--step", type=float, default=0.1, help="seconds of a step of the toy model")
    parser.add_argument("--dino", action="store_true", help="a small DINO in place of the toy model")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    print(f"{loop(parse()).compared} runs compared, all equal")
