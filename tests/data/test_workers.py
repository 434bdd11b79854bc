"""Data workers that die or hang."""

import itertools
import multiprocessing
import os
import re
import signal
import time

import pytest

from querydet.data.workers import WatchedLoader, WorkerError, _WorkersFailed


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


@pytest.mark.parametrize("fault", [signal.SIGKILL, "hang"])
def test_workers_are_replaced_and_nothing_is_lost_or_repeated(tmp_path, fault, caplog):
    watched = loader(Samples(tmp_path, {7: fault}), timeout=1 if fault == "hang" else 60)
    start = time.monotonic()
    assert take(watched, 8) == EXPECTED
    assert time.monotonic() - start < 30
    assert watched.num_restarts == 1
    assert ("no batch for 1 seconds" if fault == "hang" else "was killed by SIGKILL") in caplog.text
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
    with pytest.raises(ValueError, match="worker_restarts at least 0, got 0 and 1"):
        loader(Samples(tmp_path), timeout=0)


def test_a_connection_that_breaks_before_its_worker_counts_as_dead(monkeypatch):
    # A killed process's sockets are closed some time before it can be waited for.
    dying = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0.3,))
    dying.start()

    def broken():
        raise ConnectionResetError("reset by peer")
        yield

    with pytest.raises(_WorkersFailed, match=f"process {dying.pid} ended"):
        loader(Samples("unused"))._next(broken(), {dying})
    dying.join()


def test_an_error_of_the_data_set_about_a_connection_is_its_own(tmp_path):
    class Remote(Samples):
        def __getitem__(self, index):
            raise ConnectionResetError("no such server")

    with pytest.raises(ConnectionResetError, match="no such server"):
        take(loader(Remote(tmp_path)), 1)
