"""Data workers that die or hang."""

import itertools
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from querydet.data import workers
from querydet.data.workers import WatchedLoader, WorkerError

ROOT = Path(__file__).resolve().parents[2]


class Samples:
    """Numbers; reading some of them may end or stop the worker, once or always."""

    def __init__(self, folder, faults=(), always=False):
        self.folder, self.faults, self.always = str(folder), dict(faults), always

    def __len__(self):
        return 100

    def __getitem__(self, index):
        mark = os.path.join(self.folder, str(index))
        if index in self.faults and (self.always or not os.path.exists(mark)):
            open(mark, "w").close()
            if self.faults[index] == "hang":
                time.sleep(1000)
            if isinstance(self.faults[index], Exception):
                raise self.faults[index]
            os.kill(os.getpid(), self.faults[index])
        return index

    def file_name(self, index):
        return f"file{index}.png"


def pairs(done):
    return ([2 * number, 2 * number + 1] for number in itertools.count(done))


def loader(samples, batches=pairs, **options):
    return WatchedLoader(samples, batches, **{"num_workers": 2, "timeout": 60, "restarts": 1, **options})


def take(watched, count):
    iterator = iter(watched)
    try:
        return list(itertools.islice(iterator, count))
    finally:
        iterator.close()


EXPECTED = list(itertools.islice(pairs(0), 8))


@pytest.mark.parametrize("fault", [signal.SIGKILL, "hang", signal.SIGSTOP])
def test_workers_are_replaced_and_nothing_is_lost_or_repeated(tmp_path, fault, caplog):
    watched = loader(Samples(tmp_path, {7: fault}), timeout=60 if fault == signal.SIGKILL else 1)
    start = time.monotonic()
    assert take(watched, 8) == EXPECTED
    assert time.monotonic() - start < 30
    assert watched.num_restarts == 1
    assert ("was killed by SIGKILL" if fault == signal.SIGKILL else "no batch for 1 seconds") in caplog.text
    assert re.search(r"the next batch is of file\d.png, file\d.png. Restarting them, 1 of at most 1", caplog.text)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("restarts", [0, 1])
def test_workers_that_fail_too_often_end_the_run_with_the_cause(tmp_path, restarts):
    watched = loader(Samples(tmp_path, {3: signal.SIGKILL}, always=True), restarts=restarts)
    with pytest.raises(
        WorkerError, match=rf"killed by SIGKILL; .* file2.png, file3.png.* worker_restarts={restarts} are"
    ):
        take(watched, 8)
    assert not multiprocessing.active_children()


def test_signals_for_the_run_do_not_reach_the_workers(tmp_path):
    """A terminal and Slurm send them to every process."""
    watched = loader(Samples(tmp_path), restarts=0)
    iterator = iter(watched)
    found = [next(iterator)]
    for worker in multiprocessing.active_children():
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(worker.pid, each)
    found += itertools.islice(iterator, 7)
    iterator.close()
    assert found == EXPECTED


def test_a_dead_worker_is_noticed_when_a_batch_is_asked_for_and_not_before(tmp_path):
    """Torch raises from a signal handler, wherever the program is."""
    watched = loader(Samples(tmp_path), restarts=0)
    iterator = iter(watched)
    next(iterator)
    for worker in multiprocessing.active_children():
        worker.kill()
    time.sleep(0.2)  # the handler would have raised here
    with pytest.raises(WorkerError, match="killed by SIGKILL"):
        list(itertools.islice(iterator, 20))


def test_the_process_itself_can_load(tmp_path):
    assert take(loader(Samples(tmp_path), num_workers=0), 8) == EXPECTED


def test_a_finite_loader_ends(tmp_path):
    batches = [[0, 1], [2]]
    assert list(loader(Samples(tmp_path, {2: signal.SIGKILL}), lambda done: batches[done:])) == batches


def test_numbers_out_of_range(tmp_path):
    for timeout in (0, float("nan")):
        with pytest.raises(ValueError, match=f"worker_restarts at least 0, got {timeout} and 1"):
            loader(Samples(tmp_path), timeout=timeout)
    for count in (-1, 10**6):
        with pytest.raises(ValueError, match=f"num_workers has to be from 0 to 1024, got {count}"):
            loader(Samples(tmp_path), num_workers=count)


def test_an_error_of_the_data_set_about_a_connection_is_its_own(tmp_path):
    class Remote(Samples):
        def __getitem__(self, index):
            raise ConnectionResetError("no such server")

    with pytest.raises(ConnectionResetError, match="no such server"):
        take(loader(Remote(tmp_path)), 1)


class Tensors(Samples):
    """Samples that torch's own loader would pass on through shared memory and open files."""

    def __getitem__(self, index):
        return torch.full((100,), super().__getitem__(index))


def numbers(batches):
    return [[int(sample[0]) for sample in batch] for batch in batches]


def test_workers_frozen_after_they_have_sent_a_batch_are_replaced(tmp_path, caplog):
    watched = loader(Tensors(tmp_path), timeout=2, restarts=1)
    iterator = iter(watched)
    found = [next(iterator)]
    time.sleep(0.5)  # the next batches are on their way
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGSTOP)
    begin = time.monotonic()
    found += itertools.islice(iterator, 7)
    assert time.monotonic() - begin < 10
    iterator.close()
    assert numbers(found) == EXPECTED
    assert re.search(r"no batch for 2 seconds \(worker_timeout\) from worker \d, process \d+, stopped;", caplog.text)
    assert not multiprocessing.active_children()


def test_frozen_again_and_again_ends_with_worker_position_and_setting(tmp_path):
    watched = loader(Samples(tmp_path, {4: signal.SIGSTOP}, always=True), timeout=0.5, restarts=1)
    with pytest.raises(
        WorkerError,
        match=r"at position 4 of the data: no batch for 0.5 seconds \(worker_timeout\) from worker 0, process \d+, "
        r"stopped; the next batch is of file4.png.* worker_restarts=1 are allowed",
    ):
        take(watched, 8)
    assert not multiprocessing.active_children()


def test_frozen_workers_do_not_hold_up_the_end(tmp_path):
    iterator = iter(loader(Tensors(tmp_path), num_workers=4))
    next(iterator)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGSTOP)
    begin = time.monotonic()
    iterator.close()
    assert time.monotonic() - begin < 2
    assert not multiprocessing.active_children()


def test_after_a_request_to_stop_a_late_batch_has_seconds_and_one_more_start(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(workers, "STOP_PATIENCE", 0.2)
    watched = loader(Samples(tmp_path, {2: signal.SIGSTOP, 4: signal.SIGSTOP}, always=True), restarts=9)
    watched.watch_stop(lambda: True)
    begin = time.monotonic()
    with pytest.raises(WorkerError, match="asked to stop"):
        take(watched, 8)
    assert time.monotonic() - begin < 10
    assert "within 0.2 seconds of a request to stop" in caplog.text


def test_a_batch_that_is_late_once_still_comes_after_a_request_to_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "STOP_PATIENCE", 0.2)
    watched = loader(Samples(tmp_path, {2: signal.SIGSTOP}))
    watched.watch_stop(lambda: True)
    assert take(watched, 8) == EXPECTED


def test_a_signal_is_handled_while_a_frozen_worker_is_waited_for(tmp_path):
    class Signalled(Exception):
        pass

    def handle(*_):
        raise Signalled

    previous = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        begin = time.monotonic()
        with pytest.raises(Signalled):
            take(loader(Samples(tmp_path, {0: signal.SIGSTOP})), 1)
        assert time.monotonic() - begin < 3
    finally:
        signal.signal(signal.SIGALRM, previous)


IN_A_SMALL_ROOM = """
import sys
from tests.data.test_workers import EXPECTED, Tensors, loader, numbers
found = []
for batch in loader(Tensors(sys.argv[1])):
    found.append(batch)
    if len(found) == 200: break
assert numbers(found[:8]) == EXPECTED
"""


@pytest.mark.parametrize(
    "room",
    [
        pytest.param(
            "mount -t tmpfs -o size=64k tmpfs /dev/shm && ! cat /dev/zero > /dev/shm/full", id="shared memory"
        ),
        pytest.param("ulimit -n 48", id="open files"),
    ],
)
def test_workers_need_no_shared_memory_and_few_files(tmp_path, room):
    """As in a container with Docker's /dev/shm of 64 MB that others have filled."""
    command = f"({room}) 2>/dev/null; ulimit -c 0; exec {sys.executable} -c '{IN_A_SMALL_ROOM}' {tmp_path}"
    if "mount" in room:
        enter = ["unshare", "-Urm", "sh", "-c"]
        if shutil.which("unshare") is None or subprocess.run([*enter, "true"], capture_output=True).returncode:
            pytest.skip("no user namespaces on this machine")
    else:
        enter = ["sh", "-c"]
        command = command.replace(f"({room}) 2>/dev/null", room)
    done = subprocess.run([*enter, command], capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_workers_that_cannot_be_started_say_what_to_change(tmp_path, monkeypatch):
    def no_files(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(workers, "DataWorker", no_files)
    with pytest.raises(WorkerError, match=r"data worker 0 of 2 cannot be started: .*Too many open files.*ulimit -n"):
        take(loader(Samples(tmp_path)), 1)
