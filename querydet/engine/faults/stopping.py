"""Requests from outside to stop: SIGTERM and SIGUSR1 (preemption), SIGINT (Ctrl-C).

A run that is asked to stop finishes its step, writes a checkpoint and exits with `exit_code`; an evaluation is left
where it is, and done again when the run is resumed. A second SIGINT ends the process at once. Before the first step and
after the last one there is nothing to save: the process exits at once.

Sources: what Slurm sends before it ends a job, ``sbatch --signal`` and ``scontrol requeue``; torchrun's agent, which
passes SIGTERM on to its workers.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from querydet.engine.distributed.processes import LAUNCHER

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# Seconds within which a second SIGINT is the first one again: a terminal sends it to all processes of a run, and
# torchrun passes it on as well.
_ONE_REQUEST = 1.0


def exit_code(signum: int) -> int:
    """Exit code of a run that was stopped by a signal: 143 for SIGTERM, 138 for SIGUSR1, 130 for SIGINT."""
    return 128 + signum


class Stopped(SystemExit):
    """The run was asked to stop and did. Not an error: nothing that handles errors should catch it.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(exit_code(signum))
        self.signum = signum


class StopRequest:
    """What has been asked of this process so far.

    Attributes:
        signum: the signal, 0 while there was none.
        graceful: whether there is something to save; otherwise a signal ends the process at once.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.graceful = False
        self._first = 0.0

    def handle(self, signum: int, frame: FrameType | None = None) -> None:
        """A signal has come.

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
                # One process alone may have been asked; the launcher tells the others.
                os.kill(os.getppid(), signum)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Listens to `SIGNALS` while the block runs; in another thread than the main one nothing can be heard."""
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


class EvaluationStopped(Exception):
    """An evaluation was left because the run was asked to stop.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
