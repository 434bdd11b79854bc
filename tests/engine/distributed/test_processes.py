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


@pytest.mark.parametrize("waiting", ["stopped", "deaf"])
def test_after_a_request_to_stop_a_process_that_does_not_end_is_killed(monkeypatch, caplog, waiting):
    monkeypatch.setattr(processes, "STOP_GRACE", 0.3)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=time.sleep, args=(100,), name="rank 0")
    process.start()
    if waiting == "stopped":
        os.kill(process.pid, signal.SIGSTOP)
    sent = {signal.SIGTERM: time.monotonic()}
    begin = time.monotonic()
    failed = processes._wait([process], sent)
    assert time.monotonic() - begin < 5
    assert failed is process
    assert processes._exit_code_of_request(failed, sent) == 128 + signal.SIGTERM
    assert f"rank 0 (process {process.pid}) did not end in 0.3 seconds after a request to stop" in caplog.text


def test_a_process_that_is_killed_without_a_request_is_no_stop():
    context = multiprocessing.get_context("fork")
    process = context.Process(target=end, args=(-signal.SIGKILL, 0))
    process.start()
    process.join()
    assert processes._exit_code_of_request(process, {}) == 0
    assert processes._exit_code_of_request(process, {signal.SIGTERM: time.monotonic()}) == 0
