"""A loader of batches that survives worker processes which die, hang or are frozen.

Differences from torch's `DataLoader`: a dead worker is noticed when a batch is requested, and never in the middle of
other work (torch raises from a signal handler); every wait for a worker ends after a configured time, whatever it is
doing. In both cases the workers are killed and restarted at the missing batch, or the run ends with the cause. A batch
depends only on its index, so that nothing is lost or repeated. A request to stop does not wait long for a worker.
Signals for the run, which a terminal and Slurm send to all of its processes, do not reach the workers, and no worker
outlives the run (`data.worker_process`).
"""

import atexit
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from querydet.data.worker_process import DataWorker, Job, WorkerDiedError

logger = logging.getLogger(__name__)

POLL = 0.5  # seconds between looks at the clock and for a request to stop while a batch is late
MAX_WORKERS = 1024  # of a loader; ours: more than any machine has a use for, and few enough to start
STOP_PATIENCE = 3.0  # seconds that a late batch has after a request to stop
_RUNNING: set[DataWorker] = set()


class WorkerError(RuntimeError):
    """Worker processes died or hung more often than `worker_restarts` allows, or cannot be started."""


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

    Attributes:
        num_restarts: how often the workers were replaced.

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
        if not timeout > 0 or restarts < 0:
            raise ValueError(
                f"worker_timeout has to be positive and worker_restarts at least 0, got {timeout} and {restarts}"
            )
        if not 0 <= num_workers <= MAX_WORKERS:
            raise ValueError(f"num_workers has to be from 0 to {MAX_WORKERS}, got {num_workers}")
        self.dataset = dataset
        self.multiprocessing_context: str | None = None
        self.num_restarts = 0
        self._stop_requested: Callable[[], Any] = lambda: False
        self._batches = batches
        self._num_workers = num_workers
        self._timeout = timeout
        self._restarts = restarts

    def watch_stop(self, requested: Callable[[], Any]) -> None:
        """Ask a function whether the run is to stop; a late batch then gets a few seconds and one start of the workers.

        Args:
            requested: returns whether it is.
        """
        self._stop_requested = requested

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield the batches from the first one.

        Raises:
            WorkerError: the workers failed too often, or cannot be started.
        """
        done = 0
        last_chance = False
        while True:
            try:
                for batch in self._run(done):
                    yield batch
                    done += 1
                return
            except _WorkersFailed as error:
                self._restart_or_raise(done, str(error), last_chance)
                last_chance = bool(self._stop_requested())

    def _run(self, done: int) -> Iterator[list[Any]]:
        if not self._num_workers:
            for indices in self._batches(done):
                yield [self.dataset[index] for index in indices]
            return
        workers: list[DataWorker] = []
        try:
            self._start(workers, done)
            for number, _ in enumerate(self._batches(done)):
                yield self._next(workers, number % len(workers))
        finally:
            _kill(workers)

    def _start(self, workers: list[DataWorker], done: int) -> None:
        try:
            for number in range(self._num_workers):
                job = Job(self.dataset, self._batches, done, number, self._num_workers)
                workers.append(DataWorker(job, self.multiprocessing_context))
                _RUNNING.add(workers[-1])
        except OSError as error:
            raise WorkerError(
                f"data worker {len(workers)} of {self._num_workers} cannot be started: {error}. Lower num_workers "
                "(0 loads without workers), or raise the limit: ulimit -n for open files, ulimit -u for processes"
            ) from error

    def _next(self, workers: list[DataWorker], due: int) -> list[Any]:
        start = time.monotonic()
        stop: float | None = None  # when a request to stop was noticed
        while True:
            try:
                batch = workers[due].receive(POLL)
            except WorkerDiedError as error:
                dead = [str(worker) for worker in workers if not worker.process.is_alive()]
                raise _WorkersFailed("; ".join(dead or [str(error)])) from error
            if batch is not None:
                return batch
            now = time.monotonic()
            if now - start > self._timeout:
                raise _WorkersFailed(f"no batch for {self._timeout:g} seconds (worker_timeout) from {workers[due]}")
            if self._stop_requested():
                stop = now if stop is None else stop
                if now - stop > STOP_PATIENCE:
                    raise _WorkersFailed(f"no batch within {STOP_PATIENCE:g} seconds of a request to stop")

    def _restart_or_raise(self, done: int, cause: str, last_chance: bool) -> None:
        indices = next(iter(self._batches(done)), [])
        names = ", ".join(dict.fromkeys(self.dataset.file_name(index) for index in indices))
        place = f" at position {indices[0]} of the data" if indices else ""
        text = f"data workers failed{place}: {cause}; the next batch is of {names}"
        if last_chance:
            raise WorkerError(f"{text}. The run has been asked to stop")
        if self.num_restarts >= self._restarts:
            raise WorkerError(
                f"{text}. They were restarted {self.num_restarts} times, worker_restarts={self._restarts} are "
                "allowed. A worker that is killed often means that memory is short: lower num_workers"
            )
        self.num_restarts += 1
        logger.warning("%s. Restarting them, %d of at most %d times", text, self.num_restarts, self._restarts)


class _WorkersFailed(Exception):
    """The workers have to be replaced."""


def _kill(workers: list[DataWorker]) -> None:
    for worker in workers:
        worker.process.kill()  # all of them, before the first one is waited for
    for worker in workers:
        worker.kill()
    _RUNNING.difference_update(workers)


@atexit.register
def _kill_all() -> None:
    """Kill all workers before multiprocessing waits for them, as they ignore its request to end."""
    _kill(list(_RUNNING))
