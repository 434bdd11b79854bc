"""One data worker: a process that is frozen, killed or cut off anywhere never holds up the program."""

import itertools
import os
import pickle
import signal
import time

import pytest
import torch

from querydet.data import worker_process
from querydet.data.worker_process import DataWorker, Job, WorkerDiedError


class Squares:
    """Tensors; a size makes each larger than a pipe takes at once."""

    def __init__(self, size=2, fault=None):
        self.size, self.fault = size, fault

    def __getitem__(self, index):
        if self.fault is not None:
            self.fault(index)
        return {"image": torch.full((self.size,), index, dtype=torch.uint8), "index": index}


def singles(start):
    return ([number] for number in itertools.count(start))


@pytest.fixture
def start():
    workers = []

    def build(dataset, first=0, step=1, batches=singles, method=None):
        workers.append(DataWorker(Job(dataset, batches, 0, first, step), method))
        return workers[-1]

    yield build
    for worker in workers:
        worker.kill()


def received(worker, seconds=60):
    batch = worker.receive(seconds)
    assert batch is not None
    return [item["index"] for item in batch]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_every_nth_batch_in_order(start, method):
    worker = start(Squares(200_000), first=1, step=3, method=method)
    assert [received(worker) for _ in range(4)] == [[1], [4], [7], [10]]


def test_no_more_batches_are_loaded_than_needed(start, tmp_path):
    mark = tmp_path / "loaded"
    worker = start(Squares(fault=lambda index: mark.write_text(str(index))))
    for used in range(3):
        received(worker)
        time.sleep(0.3)
        assert int(mark.read_text()) == used + worker_process.AHEAD


def test_tensors_arrive_as_they_were(start):
    values = [
        torch.arange(6).reshape(2, 3).T,
        torch.tensor([float("nan"), -0.0]),
        torch.zeros(0, 4),
        torch.tensor([1.5], dtype=torch.bfloat16),
        torch.nn.Parameter(torch.ones(2)),
        torch.sparse_coo_tensor([[0]], [1.0], (3,)).coalesce(),
    ]

    class Values:
        def __getitem__(self, index):
            return values[index]

    for found, wanted in zip(
        start(Values(), batches=lambda start: [[0, 1, 2, 3, 4, 5]]).receive(20), values, strict=True
    ):
        assert (type(found), found.dtype, found.shape) == (type(wanted), wanted.dtype, wanted.shape)
        assert pickle.dumps(found.to_dense().tolist()) == pickle.dumps(wanted.to_dense().tolist())


@pytest.mark.parametrize("size", [2, 5_000_000])
def test_a_worker_frozen_anywhere_is_waited_for_only_so_long_and_can_be_killed(start, size):
    """Also one that is half way through a message: only the beginning of five megabytes fits into a connection."""
    worker = start(Squares(size, fault=lambda index: index == 1 and os.kill(os.getpid(), signal.SIGSTOP)))
    received(worker)
    begin = time.monotonic()
    assert worker.receive(0.3) is None
    assert "stopped" in str(worker)
    worker.kill()
    with pytest.raises(WorkerDiedError, match=r"worker 0, process \d+, was killed by SIGKILL"):
        worker.receive(5)
    assert time.monotonic() - begin < 3


def test_frozen_in_the_middle_of_a_message(start, monkeypatch):
    def half(job, indices):
        os.write(sending.fileno(), b"\x00\x10\x00\x00half")  # the length of the message, and a part of it
        os.kill(os.getpid(), signal.SIGSTOP)

    monkeypatch.setattr(worker_process, "_load", half)
    work = worker_process._work

    def remember(connection, job):
        nonlocal sending
        sending = connection
        work(connection, job)

    sending = None
    monkeypatch.setattr(worker_process, "_work", remember)
    worker = start(Squares())
    assert worker.receive(1.0) is None
    assert "stopped" in str(worker)
    worker.kill()
    assert not worker._thread.is_alive()


def test_frozen_while_it_starts(start, monkeypatch):
    monkeypatch.setattr(worker_process, "_work", lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
    worker = start(Squares())
    assert worker.receive(0.3) is None
    worker.kill()
    assert worker.process.exitcode == -signal.SIGKILL


def test_an_end_is_noticed_also_when_a_process_below_keeps_the_connection(start):
    def leave(index):
        if not os.fork():
            time.sleep(3)
            os._exit(0)
        os._exit(7)

    worker = start(Squares(fault=leave))
    worker.process.join(5)
    with pytest.raises(WorkerDiedError, match="ended with exit code 7"):
        worker.receive(0.2)


def test_a_bus_error_names_shared_memory(start):
    worker = start(Squares(fault=lambda index: os.kill(os.getpid(), signal.SIGBUS)))
    with pytest.raises(WorkerDiedError, match=r"SIGBUS \(is /dev/shm full\?"):
        worker.receive(20)


def test_exceptions_keep_their_class_where_that_can_be_sent(start):
    class Local(Exception):
        pass

    def fail(index):
        raise EOFError("half a file") if index else Local("unknown elsewhere")

    worker = start(Squares(fault=fail))
    with pytest.raises(RuntimeError, match="unknown elsewhere"):
        worker.receive(20)
    with pytest.raises(EOFError, match="half a file"):
        worker.receive(20)


def test_what_cannot_be_sent_is_an_error_and_no_silence(start):
    class Local:
        def __getitem__(self, index):
            return lambda: index

    with pytest.raises(Exception, match=r"(?i)pickle|local"):
        start(Local()).receive(20)


def test_batches_that_are_kept_keep_no_files_open(start):
    worker = start(Squares())
    received(worker)
    before = len(os.listdir("/proc/self/fd"))
    kept = [worker.receive(20) for _ in range(50)]
    assert len(kept) == 50
    assert len(os.listdir("/proc/self/fd")) <= before
