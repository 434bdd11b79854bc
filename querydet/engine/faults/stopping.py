"""Requests from outside to stop: SIGTERM and SIGUSR1 (preemption), SIGINT (Ctrl-C).

A run that receives one finishes its step, writes a checkpoint and exits with `exit_code`; an evaluation is left where
it is, and repeated when the run is resumed. A step whose images do not come in seconds is left too: then the checkpoint
is that of the step before. A second SIGINT ends the process at once. Before the first step and
after the last one there is nothing to save: the process exits at once.

Senders: Slurm before it ends a job, with ``sbatch --signal`` and ``scontrol requeue``; torchrun's agent, which passes
SIGTERM on to its workers.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from querydet.engine.distributed.processes import LAUNCHER

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# Seconds within which a second SIGINT is the first one again: a terminal sends it to all processes of a run, and
# torchrun passes it on as well.
_ONE_REQUEST = 1.0


def exit_code(signum: int) -> int:
    """Return the exit code of a run that a signal stopped: 143 for SIGTERM, 138 for SIGUSR1, 130 for SIGINT."""
    return 128 + signum


class Stopped(SystemExit):
    """A request to stop ended the run. Not an error: handlers of errors must not catch it.

    Args:
        signum: number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(exit_code(signum))
        self.signum = signum


class StopRequest:
    """The request to stop that this process has received, if any.

    Attributes:
        signum: number of the signal; 0 while there was none.
        graceful: whether there is something to save; otherwise a signal ends the process at once.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.graceful = False
        self._first = 0.0

    def handle(self, signum: int, frame: FrameType | None = None) -> None:
        """Handle a signal.

        Raises:
            Stopped: there is nothing to save.
        """
        if not self.graceful:
            raise Stopped(signum)
        now = time.monotonic()
        if self.signum and signum == signal.SIGINT and now - self._first > _ONE_REQUEST:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        if not self.signum:
            self.signum, self._first = signum, now
            if os.environ.get(LAUNCHER) == str(os.getppid()):
                # Only this process may have the signal; the launcher passes it on to the others.
                os.kill(os.getppid(), signum)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Handle `SIGNALS` while the block runs; outside of the main thread there are none to handle."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {each: signal.signal(each, request.handle) for each in SIGNALS}
    try:
        yield request
    finally:
        for each, handler in previous.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)


def watch_requests(loader: Any, request: StopRequest) -> None:
    """Let a loader know of requests to stop, so that it does not wait long for a late batch.

    A loader of a user's own that has no method `watch_stop` goes on waiting.

    Args:
        loader: yields batches.
        request: requests to stop that this process receives.
    """
    if hasattr(loader, "watch_stop"):
        loader.watch_stop(lambda: request.signum)


class EvaluationStopped(Exception):
    """An evaluation ended early because of a request to stop.

    Args:
        signum: number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
