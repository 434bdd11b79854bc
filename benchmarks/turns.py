"""Contestants in processes of their own that take turns, so that no library's settings help or harm another.

Threads, allocator and environment of a contestant are its own. All of them are built before the first turn, one after
the other, and paused (SIGSTOP) except in their turn: threads that wait in a loop do not disturb the others.
"""

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOREIGN = ("OMP_", "KMP_", "MKL_", "GOMP_", "MALLOC_", "LD_PRELOAD", "ONEDNN_", "DNNL_")  # settings of the parent
TIMEOUT = 900.0  # seconds that one answer may take


@dataclass(frozen=True)
class Contestant:
    """Something to time.

    Args:
        name: of a row.
        function: `module:name` of what builds it; see `benchmarks.turn_worker`.
        arguments: of that function; JSON values.
        about: further cells of its row.
    """

    name: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


class Failed(Exception):
    """A contestant cannot be built or does not run; says why."""


class Process:
    """The process of a contestant, built and paused.

    Args:
        contestant: what it runs.
        threads: OMP_NUM_THREADS of the process.

    Raises:
        Failed: it cannot be built.
    """

    def __init__(self, contestant: Contestant, threads: int) -> None:
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, closed by `end`
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        command = [sys.executable, "-m", "benchmarks.turn_worker", contestant.function]
        self._process = subprocess.Popen(
            [*command, json.dumps(dict(contestant.arguments))],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env={**kept, **offline, "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
        try:
            self._answer()
        except BaseException:
            self.end()
            raise
        self._process.send_signal(signal.SIGSTOP)

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and return the answer; the process runs until then.

        Raises:
            Failed: it failed, ended or took too long.
        """
        self._process.send_signal(signal.SIGCONT)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer says why
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()
        answer = self._answer()
        self._process.send_signal(signal.SIGSTOP)
        return answer

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait(TIMEOUT)
        for file in (self._process.stdin, self._process.stdout, self._errors):
            assert file is not None
            file.close()

    def _answer(self) -> dict[str, Any]:
        output = self._process.stdout
        assert output is not None
        line, deadline = b"", time.monotonic() + TIMEOUT
        while not line.endswith(b"\n"):
            if not select.select([output], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise Failed(f"no answer within {TIMEOUT:.0f} s")
            read = os.read(output.fileno(), 1 << 20)
            if not read:
                raise Failed(self._why_it_ended())
            line += read
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def _why_it_ended(self) -> str:
        status = self._process.wait(TIMEOUT)
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        ended = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"ended by {ended}" + (f": {lines[-1]}" if lines else "")


def compete(
    contestants: Sequence[Contestant],
    repeats: int,
    threads: int,
    look: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda results: {},
) -> list[dict[str, Any]]:
    """Time contestants in turns, after one round that warms up.

    Args:
        contestants: with names that differ.
        repeats: rounds that count.
        threads: of each process.
        look: receives what a call of each contestant returns, by name, and returns a cell `agreement` for some of them.

    Returns:
        A row for each: `name`, what it says about itself, and `milliseconds` (median), `cpu_milliseconds` (of all
        threads), `rounds` (all times), `peak_mib` and maybe `agreement`; or `absent`, the reason why it did not run.
    """
    rows: dict[str, dict[str, Any]] = {each.name: {"name": each.name, **each.about} for each in contestants}
    with ExitStack() as stack:
        running = {}
        for contestant in contestants:
            print(f"starting {contestant.name}", flush=True)
            try:
                running[contestant.name] = process = Process(contestant, threads)
            except Failed as error:
                rows[contestant.name]["absent"] = str(error)
                print(f"{contestant.name} is absent: {error}", flush=True)
                continue
            stack.callback(process.end)
        results = _in_turns(running, "result", rows)
        agreement = look({name: answer["result"] for name, answer in results.items()})
        times: dict[str, list[dict[str, float]]] = {name: [] for name in running}
        for _ in range(repeats + 1):  # the first round warms up
            for name, answer in _in_turns(running, "run", rows).items():
                times[name].append(answer)
    for name in running:
        rows[name].update(_summary(times[name][1:]))
        if name in agreement:
            rows[name]["agreement"] = agreement[name]
    return list(rows.values())


def _in_turns(running: dict[str, Process], command: str, rows: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Send a command to one after the other; those that fail are left out from then on."""
    answers = {}
    for name, process in list(running.items()):
        try:
            answers[name] = process.ask(command)
        except Failed as error:
            rows[name]["absent"] = str(error)
            print(f"{name} is absent: {error}", flush=True)
            running.pop(name).end()  # it may still compute
    return answers


def _summary(times: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    return {
        "milliseconds": round(1e3 * statistics.median(each["seconds"] for each in times), 1),
        "cpu_milliseconds": round(1e3 * statistics.median(each["cpu_seconds"] for each in times), 1),
        "rounds": [round(1e3 * each["seconds"], 1) for each in times],
        "peak_mib": max(each["peak_mib"] for each in times),
    }
