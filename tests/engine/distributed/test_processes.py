"""Which of several failed processes is named as the cause."""

import multiprocessing
import os
import signal
import time

import pytest

from querydet.engine.distributed import processes


def end(code, delay):
    time.sleep(delay)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


@pytest.mark.parametrize(
    ("codes", "cause"),
    [
        ([1, -signal.SIGKILL], 1),  # lost the connection to the killed one, and ended sooner
        ([0, 3, 1], 1),
        ([138, 138], 0),
        ([-signal.SIGKILL, 1], 0),
        ([0, 0], None),
    ],
)
def test_the_killed_process_is_the_cause_else_the_first(codes, cause):
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=end, args=(code, 0.3 * number)) for number, code in enumerate(codes)]
    for each in started:
        each.start()
    failed = processes._wait(started)
    assert failed is (None if cause is None else started[cause])


def test_a_process_that_does_not_end_is_killed_and_not_the_cause(monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.2)
    monkeypatch.setattr(processes, "TOGETHER", 0.1)
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=end, args=(1, 0)), context.Process(target=time.sleep, args=(100,))]
    for each in started:
        each.start()
    assert processes._wait(started) is started[0]
    assert started[1].exitcode == -signal.SIGKILL
