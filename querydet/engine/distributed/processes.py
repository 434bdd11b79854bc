"""Several processes on one machine that live and die together.

Differs from Detectron2's ``launch`` and ``torch.multiprocessing.spawn``, which know nothing of signals: a request to
stop (SIGTERM, SIGUSR1, SIGINT) is passed on to every process and their exit code becomes that of the launcher; when one
process dies, the launcher names it and ends the others; and no process outlives the launcher, not even one that is
killed by SIGKILL.
"""

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from querydet.utils.system import die_with_parent

logger = logging.getLogger(__name__)

# Seconds that the other processes have, after the first one has failed, to report what they saw and to save.
GRACE = 30.0
# Seconds that the processes have to end after a request to stop: for a step, an evaluation's summary, a checkpoint.
STOP_GRACE = 600.0
TOGETHER = 5.0  # seconds within which processes fail by one cause
LAUNCHER = "QUERYDET_LAUNCHER"  # environment variable of the processes: id of the launching one
_FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class ProcessDiedError(RuntimeError):
    """A process of the run has failed, and the others were ended."""


def run_processes(
    function: Callable[..., None], count: int, arguments: Sequence[Any], environment: Callable[[int], dict[str, str]]
) -> None:
    """Run ``function(*arguments)`` in several new processes.

    Args:
        function: a function of a module, which each process imports.
        count: number of processes.
        arguments: arguments of the function, the same in all processes.
        environment: number of a process -> variables to set in it.

    Raises:
        ProcessDiedError: a process failed; by then all have ended, at most `GRACE` seconds later.
        SystemExit: a request to stop ended the processes, with their exit code; at most `STOP_GRACE` seconds later.
    """
    context = multiprocessing.get_context("spawn")
    processes = []
    for number in range(count):
        variables = {**environment(number), LAUNCHER: str(os.getpid())}
        process = context.Process(target=_run, args=(function, tuple(arguments), variables), name=f"rank {number}")
        process.start()
        processes.append(process)
    with _forward(processes) as sent:
        failed = _wait(processes, sent)
    if failed is None:
        return
    code = _exit_code_of_request(failed, sent)
    if code:
        sys.exit(code)
    raise ProcessDiedError(f"{_describe(failed)}; the other processes of the run were ended. Its message is above")


def _run(function: Callable[..., None], arguments: tuple[Any, ...], variables: dict[str, str]) -> None:
    die_with_parent()
    os.setpgrp()  # Ctrl-C reaches the launcher, which passes it on; a second one would mean: stop at once
    # As in a process that was not spawned: data workers are forked and need not import everything again.
    multiprocessing.set_start_method(None, force=True)
    os.environ.update(variables)
    function(*arguments)


@contextlib.contextmanager
def _forward(processes: Sequence[SpawnProcess]) -> Iterator[dict[int, float]]:
    """Pass signals on to all processes; one that comes back from a process is passed on once.

    Yields:
        When each signal was passed on first.
    """
    sent: dict[int, float] = {}
    latest: dict[int, float] = {}

    def handle(signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - latest.get(signum, -1.0) < 0.5:
            return
        latest[signum] = now
        sent.setdefault(signum, now)
        for process in processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signum)

    previous = {each: signal.signal(each, handle) for each in _FORWARDED}
    try:
        yield sent
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _wait(processes: Sequence[SpawnProcess], sent: Mapping[int, float] | None = None) -> SpawnProcess | None:
    """Wait for all processes, and return the one that failed first.

    Args:
        processes: the processes.
        sent: when signals were passed on to them; may change while this function waits.
    """
    failed: SpawnProcess | None = None
    first = float("inf")  # when the first one failed
    running = list(processes)
    while running:
        multiprocessing.connection.wait([process.sentinel for process in running], timeout=1.0)
        ended = [process for process in running if process.exitcode is not None]
        running = [process for process in running if process not in ended]
        failures = [process for process in ended if process.exitcode]
        first = min(first, time.monotonic()) if failures else first
        if failures and time.monotonic() - first <= TOGETHER:
            before, failed = failed, _cause([*filter(None, [failed]), *failures])
            if failed is not before:
                logger.error("%s; the others have %g seconds to end", _describe(failed), GRACE)
        asked = min(sent.values(), default=float("inf")) if sent else float("inf")
        stuck = time.monotonic() - asked > STOP_GRACE
        if stuck and running:
            names = ", ".join(f"{process.name} (process {process.pid})" for process in running)
            logger.error("%s did not end in %g seconds after a request to stop and are killed", names, STOP_GRACE)
        if stuck or time.monotonic() - first > GRACE:
            for process in running:
                process.kill()
    return failed


def _exit_code_of_request(failed: SpawnProcess, sent: Mapping[int, float]) -> int:
    """Return the exit code of a run that ended because of a request to stop; 0 when it was something else."""
    killed = failed.exitcode == -signal.SIGKILL
    if killed and sent and time.monotonic() - min(sent.values()) > STOP_GRACE:
        return 128 + min(sent, key=lambda signum: sent[signum])
    return (failed.exitcode or 0) if failed.exitcode in [128 + each for each in _FORWARDED] else 0


def _cause(ended: Sequence[SpawnProcess]) -> SpawnProcess:
    """Return the first process that was killed, else the first one: the others lost the connection to it.

    A killed process closes its connections before it has ended, and another may end sooner for that.
    """
    return min(ended, key=lambda process: min(process.exitcode or 0, 0))


def _describe(process: SpawnProcess) -> str:
    code = process.exitcode or 0
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"{process.name} (process {process.pid}) was killed by {signal.Signals(-code).name}"
    return f"{process.name} (process {process.pid}) ended with exit code {code}"
