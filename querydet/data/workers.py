"""A torch `DataLoader` that survives worker processes which die or hang.

Differences from torch's: a dead worker is noticed within `POLL` seconds, when a batch is requested, and never in the
middle of other work (torch raises from a signal handler); a worker that does not answer is noticed after a configured
time. In both cases the workers are restarted at the missing batch, or the run ends with the cause. A batch depends only
on its index, so that nothing is lost or repeated. Signals for the run, which a terminal and Slurm send to all of its
processes, do not reach the workers, and no worker outlives the run.
"""

import atexit
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader

from querydet.utils.system import die_with_parent

logger = logging.getLogger(__name__)

POLL = 2  # seconds between checks of the workers while a batch is late
_SIGNALS_OF_RUN = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_RUNNING: set[BaseProcess] = set()
_ABANDONED: list[Any] = []  # iterators of killed workers: shutting them down would wait for locks that the workers held


class WorkerError(RuntimeError):
    """Worker processes died or hung more often than `worker_restarts` allows."""


class NamedSamples(Protocol):
    """A data set that knows the file of each sample."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def file_name(self, index: int) -> str:
        """Return the file of a sample."""


class WatchedLoader:
    """Loads batches as lists of samples in worker processes that are replaced when they fail.

    Args:
        dataset: maps an index to a sample.
        batches: returns the indices of every batch, starting with the batch of the given index.
        num_workers: worker processes; 0 loads in the process itself.
        timeout: seconds that a batch may take.
        restarts: how often the workers may be replaced; one further failure ends the run.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        dataset: NamedSamples,
        batches: Callable[[int], Iterable[list[int]]],
        *,
        num_workers: int,
        timeout: float,
        restarts: int,
    ) -> None:
        if timeout <= 0 or restarts < 0:
            raise ValueError(
                f"worker_timeout has to be positive and worker_restarts at least 0, got {timeout} and {restarts}"
            )
        self.dataset = dataset
        self.multiprocessing_context: str | None = None
        self.num_restarts = 0
        self._batches = batches
        self._num_workers = num_workers
        self._timeout = timeout
        self._restarts = restarts

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield the batches from the first one.

        Raises:
            WorkerError: the workers failed too often.
        """
        done = 0
        while True:
            try:
                for batch in self._run(done):
                    yield batch
                    done += 1
                return
            except _WorkersFailed as error:
                self._restart_or_raise(done, str(error))

    def _run(self, done: int) -> Iterator[list[Any]]:
        loader: DataLoader[Any] = DataLoader(
            self.dataset,  # type: ignore[arg-type]
            batch_sampler=self._batches(done),
            num_workers=self._num_workers,
            collate_fn=_as_list,
            generator=torch.Generator().manual_seed(0),  # keeps the global generator unused
            timeout=POLL if self._num_workers else 0,
            worker_init_fn=_start_worker,
            multiprocessing_context=self.multiprocessing_context if self._num_workers else None,
        )
        iterator, workers = _start(loader)
        healthy = False
        try:
            while (batch := self._next(iterator, workers)) is not None:
                yield batch
            healthy = True
        except GeneratorExit:
            healthy = True
            raise
        finally:
            if not healthy:
                _ABANDONED.append(iterator)
            del iterator  # asks workers to end and waits for them
            _kill(workers)

    def _next(self, iterator: Iterator[list[Any]], workers: set[BaseProcess]) -> list[Any] | None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return next(iterator, None)
            except Exception as error:
                # The connections of a killed worker break shortly before it has ended.
                patience = POLL if workers and isinstance(error, (OSError, EOFError)) else 0
                ended = multiprocessing.connection.wait([worker.sentinel for worker in workers], patience)
                dead = [worker for worker in workers if worker.sentinel in ended]
                if dead:
                    raise _WorkersFailed(", ".join(map(_describe, dead))) from error
                if not (isinstance(error, RuntimeError) and str(error).startswith("DataLoader timed out")):
                    raise  # an error of the data set
                if time.monotonic() > deadline:
                    raise _WorkersFailed(f"no batch for {self._timeout:g} seconds (worker_timeout)") from error

    def _restart_or_raise(self, done: int, cause: str) -> None:
        indices = next(iter(self._batches(done)), [])
        names = ", ".join(dict.fromkeys(self.dataset.file_name(index) for index in indices))
        text = f"data workers failed: {cause}; the next batch is of {names}"
        if self.num_restarts >= self._restarts:
            raise WorkerError(
                f"{text}. They were restarted {self.num_restarts} times, worker_restarts={self._restarts} are "
                "allowed. A worker that is killed often means that memory is short: lower num_workers"
            )
        self.num_restarts += 1
        logger.warning("%s. Restarting them, %d of at most %d times", text, self.num_restarts, self._restarts)


class _WorkersFailed(Exception):
    """The workers have to be replaced."""


def _start(loader: DataLoader) -> tuple[Iterator[list[Any]], set[BaseProcess]]:
    """Start an iterator and its worker processes without the signal handler that torch installs to report dead workers.

    The handler would raise wherever the program is at that moment, in the middle of an optimizer step or of a
    checkpoint.

    Returns:
        The iterator and its workers.
    """
    before = set(multiprocessing.active_children())
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGCHLD) if main else None
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS_OF_RUN)  # the workers inherit the mask when they start
    try:
        iterator = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS_OF_RUN)
    if main:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if handler is None else handler)
    workers = set(multiprocessing.active_children()) - before if loader.num_workers else set()
    _RUNNING.update(workers)
    return iterator, workers


def _start_worker(worker_id: int) -> None:
    die_with_parent()
    for number in _SIGNALS_OF_RUN:
        signal.signal(number, signal.SIG_IGN)


def _kill(workers: Iterable[BaseProcess]) -> None:
    """Kill workers; nothing is lost, as they have no state."""
    for worker in workers:
        with contextlib.suppress(ValueError):  # closed already
            worker.kill()
            worker.join(POLL)
    _RUNNING.difference_update(workers)


@atexit.register
def _kill_all() -> None:
    """Kill all workers before multiprocessing waits for them, as they ignore its request to end."""
    _kill(list(_RUNNING))


def _describe(worker: BaseProcess) -> str:
    worker.join(POLL)  # for its exit code
    code = worker.exitcode or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"process {worker.pid} {how}"


def _as_list(samples: list[Any]) -> list[Any]:
    return samples
