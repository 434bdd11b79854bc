"""A data worker: a process that loads every n-th batch and sends it through a connection of its own.

Differences from the workers of torch's `DataLoader`: workers share nothing, neither locks nor a queue nor memory. A
worker that is killed or frozen at any instruction holds up nobody else, `/dev/shm` may be full, and the number of open
files does not grow with the batches that are kept. The program itself never reads from a worker, a thread does: every
wait has a deadline, also in the middle of a message, and a signal is handled at once.
"""

import contextlib
import io
import itertools
import multiprocessing
import multiprocessing.process
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch._utils import ExceptionWrapper

from querydet.utils.system import die_with_parent, process_state

AHEAD = 2  # batches that a worker loads ahead, as torch's workers do
PATIENCE = 2.0  # seconds for a killed process to end
_NEXT = b"next"  # asks a worker for a batch
_SIGNALS_OF_RUN = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class WorkerDiedError(Exception):
    """A worker has ended, or its connection is broken; the message says which and how."""


@dataclass(frozen=True)
class Job:
    """The batches that a worker loads: every `step`-th of `batches(start)`, from number `first` on.

    Args:
        dataset: maps an index to a sample.
        batches: returns the indices of every batch, starting with the batch of the given index.
        start: index of the first batch of all workers.
        first: number of the first batch of this worker, counted from `start`.
        step: number of workers.
    """

    dataset: Any
    batches: Callable[[int], Iterable[list[int]]]
    start: int
    first: int
    step: int


class DataWorker:
    """One worker, seen from the program that uses its batches.

    Args:
        job: what to load.
        method: "fork" or "spawn"; None: fork on Linux, else Python's default.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, job: Job, method: str | None = None) -> None:
        context: Any = multiprocessing.get_context(method or ("fork" if sys.platform == "linux" else None))
        # A forked process inherits its job. Others get it from the thread, as it may be more than a pipe takes at once.
        inherited = context.get_start_method() == "fork"
        sent = b"" if inherited else pickle.dumps(job)
        self._number = job.first
        self._connection, theirs = context.Pipe()
        arguments = (theirs, job if inherited else None)
        self.process: BaseProcess = context.Process(target=_work, args=arguments, daemon=True)
        try:
            with _signals_blocked():
                self.process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()
        self._replies: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self._thread = threading.Thread(target=_receive, args=(self._connection, sent, self._replies), daemon=True)
        self._thread.start()

    def receive(self, seconds: float) -> list[Any] | None:
        """Wait for the next batch; return None when there is none after some seconds.

        Raises:
            WorkerDiedError: the process has ended, or its connection is broken.
            Exception: what the data set raised, with the worker's traceback in its message.
        """
        try:
            reply = self._replies.get(timeout=seconds)
        except queue.Empty:
            if self.process.is_alive():
                return None
            reply = EOFError()  # a process that the worker has started keeps the connection open
        if isinstance(reply, Exception):
            self.process.join(PATIENCE)  # for its exit code
            raise WorkerDiedError(str(self)) from reply
        with contextlib.suppress(OSError):  # it has ended, or will not be asked again
            self._connection.send_bytes(_NEXT)
        content = pickle.loads(reply)
        if isinstance(content, ExceptionWrapper):
            content.reraise()
        return content

    def kill(self) -> None:
        """Kill the process, which also ends one that is stopped; nothing is lost, as it has no state."""
        with contextlib.suppress(ValueError):  # closed already
            self.process.kill()
            self.process.join(PATIENCE)
            if self.process.is_alive():  # in a call of the system that does not return: nobody is to wait for it
                getattr(multiprocessing.process, "_children", set()).discard(self.process)
        self._thread.join(PATIENCE)
        if not self._thread.is_alive():
            self._connection.close()

    def __str__(self) -> str:
        text = f"worker {self._number}, process {self.process.pid}"
        code = self.process.exitcode
        if code is None:
            state = process_state(self.process.pid)
            return f"{text}, {state}" if state else text
        if code >= 0:
            return f"{text}, ended with exit code {code}"
        cause = signal.Signals(-code)
        shared = " (is /dev/shm full? docker run --shm-size=8g)" if cause == signal.SIGBUS else ""
        return f"{text}, was killed by {cause.name}{shared}"


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let processes that are started inherit that signals for the run are blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS_OF_RUN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _receive(connection: Connection, job: bytes, replies: "queue.SimpleQueue[bytes | Exception]") -> None:
    """Pass on what a worker sends; the thread ends with the worker."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS_OF_RUN)  # they are for the main thread, which they wake up
    try:
        for message in filter(None, [job, *[_NEXT] * AHEAD]):
            connection.send_bytes(message)
        while True:
            replies.put(connection.recv_bytes())
    except Exception as error:  # whatever it is, the main thread has to hear of it
        replies.put(error)


def _work(connection: Connection, job: Job | None) -> None:
    """Load one batch for each request, until there are no more batches."""
    die_with_parent()
    for number in _SIGNALS_OF_RUN:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    found: Job = pickle.loads(connection.recv_bytes()) if job is None else job
    for indices in itertools.islice(found.batches(found.start), found.first, None, found.step):
        connection.recv_bytes()
        connection.send_bytes(_load(found, indices))
    with contextlib.suppress(EOFError, OSError):  # the end of a worker counts as a failure: wait to be killed
        while True:
            connection.recv_bytes()


def _load(job: Job, indices: list[int]) -> bytes | memoryview:
    where = f"in data worker {job.first}"
    try:
        return _packed([job.dataset[index] for index in indices])
    except Exception:
        problem = ExceptionWrapper(where=where)
    try:
        return _packed(problem)
    except Exception:  # an exception of a class that only this process knows
        problem.exc_type = RuntimeError
        return _packed(problem)


def _packed(content: Any) -> memoryview:
    file = io.BytesIO()
    _TensorPickler(file, protocol=5).dump(content)
    return file.getbuffer()


class _TensorPickler(pickle.Pickler):
    """Writes tensors as numpy arrays: torch's own way is to save a file inside of the file, at a third of the speed."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is torch.Tensor and value.device.type == "cpu" and not value.requires_grad:
            with contextlib.suppress(TypeError, RuntimeError):  # bfloat16, sparse
                return torch.from_numpy, (value.numpy(),)
        return NotImplemented
