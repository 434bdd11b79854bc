"""Requests from outside to stop: SIGTERM and SIGUSR1 (preemption), SIGINT (Ctrl-C).

A run that is asked to stop finishes its step, writes a checkpoint and exits with `exit_code`; an evaluation is left
where it is, and done again when the run is resumed. A second SIGINT ends the process at once. Before the first step and
after the last one there is nothing to save: the process exits at once.

Sources: what Slurm sends before it ends a job, ``sbatch --signal`` and ``scontrol requeue``; torchrun's agent, which
passes SIGTERM on to its workers.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from querydet.engine.processes import LAUNCHER
from querydet.engine.saving import PeriodicCheckpointer

logger = logging.getLogger(__name__)

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


class StopHook(HookBase):
    """Ends the run after the step in which all processes have learnt of a request.

    Args:
        request: of this process.
        saver: writes the checkpoint, on the main process.
    """

    def __init__(self, request: StopRequest, saver: PeriodicCheckpointer | None) -> None:
        self._request = request
        self._saver = saver

    def before_train(self) -> None:
        """From here on there is something to save."""
        self._request.graceful = True

    def after_step(self) -> None:
        """A single process asks itself; several have agreed in the step (`querydet.engine.trainer`)."""
        signum = self._request.signum if comm.get_world_size() == 1 else self.trainer.stop_signal
        if signum:
            self.stop(signum)

    def after_train(self) -> None:
        """From here on there is nothing to save."""
        self._request.graceful = False

    def stop(self, signum: int) -> None:
        """Saves and ends the run.

        Raises:
            Stopped: always.
        """
        name = signal.Signals(signum).name
        logger.warning("%s: stopping after iteration %d; --resume continues", name, self.trainer.iter)
        if self._saver is not None:
            try:
                self._saver.save()
            except OSError as error:
                logger.error("The checkpoint cannot be written, the earlier ones are intact: %s", error)
        comm.synchronize()  # a process that ends while another one saves looks like a failure to the launcher
        raise Stopped(signum)


class StoppableEvaluation(DatasetEvaluator):
    """A loader's batches and an evaluator, until this process is asked to stop.

    All processes run through their batches, fewer if they were asked, and then agree on whether to go on: none waits
    for results that another one does not have.

    Args:
        loader: of the test data.
        evaluator: evaluates them.
        request: of this process.
    """

    def __init__(self, loader: Any, evaluator: DatasetEvaluator, request: StopRequest) -> None:
        self._loader = loader
        self._evaluator = evaluator
        self._request = request

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            if self._request.signum:
                return
            yield batch

    def reset(self) -> None:
        """Of the evaluator."""
        self._evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        """By the evaluator."""
        self._evaluator.process(inputs, outputs)

    def evaluate(self) -> Any:
        """By the evaluator.

        Raises:
            EvaluationStopped: a process was asked to stop.
        """
        signum = largest([self._request.signum])[0]
        if signum:
            raise EvaluationStopped(int(signum))
        return self._evaluator.evaluate()


class EvaluationStopped(Exception):
    """An evaluation was left because the run was asked to stop.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def largest(values: Iterable[float]) -> list[float]:
    """The largest of each number over all processes."""
    tensor = torch.tensor(list(values), dtype=torch.float64)
    if comm.get_world_size() > 1:
        if dist.get_backend() == "nccl":
            tensor = tensor.cuda()
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return tensor.tolist()
