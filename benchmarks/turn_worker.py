"""The process of one contestant of `benchmarks.turns`: builds it, then runs it whenever the parent says so.

    python -m benchmarks.turn_worker MODULE:FUNCTION ARGUMENTS

The function gets the arguments (a JSON object) and returns what is timed. Commands are lines of the standard input,
answers are JSON objects, one a line, on the standard output; what libraries print goes to the standard error.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """Let the system end this process with its parent: a paused one would stay forever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def build(function: str, arguments: dict[str, Any]) -> Callable[[], Any]:
    """Import a function by `module:name` and call it."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)


def reset_peak() -> None:
    """Let the peak of the resident memory begin at what is resident now, where the system can."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Return the most resident memory since `reset_peak`, in MiB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(run: Callable[[], Any]) -> dict[str, float]:
    """Run once: seconds, seconds of all threads, and the peak of the memory so far."""
    cpu, start = time.process_time(), time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": time.process_time() - cpu, "peak_mib": round(peak_mib())}


def serve(run: Callable[[], Any], commands: TextIO, answer: Callable[[dict[str, Any]], None]) -> None:
    """Answer commands until there are no more: `run` times one call, `result` returns what a call returns."""
    for command in commands:
        try:
            answer(timed(run) if command.strip() == "run" else {"result": run()})
        except Exception as error:  # whatever a contestant does is the parent's to report
            answer({"failed": describe(error)})


def describe(error: BaseException) -> str:
    """Return the kind and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def main() -> None:
    """Run the command line."""
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        run = build(sys.argv[1], json.loads(sys.argv[2]))
    except (Exception, SystemExit) as error:
        answer({"failed": describe(error)})
        return
    reset_peak()
    answer({"ready": True})
    serve(run, sys.stdin, answer)


if __name__ == "__main__":
    main()
