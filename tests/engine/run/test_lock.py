"""One run a folder."""

import os

import pytest

from querydet.engine.run.lock import run_lock


def in_child(function):
    """Runs a function in a forked process, and returns its exit code."""
    child = os.fork()
    if not child:
        try:
            function()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_second_process_is_refused_and_told_by_whom(tmp_path):
    def second():
        with (
            pytest.raises(ValueError, match=rf"in use by another run, .*\"pid\": {os.getppid()}"),
            run_lock(str(tmp_path), wait=0.3),
        ):
            pass
        os._exit(7)

    with run_lock(str(tmp_path)):
        assert in_child(second) == 7


def test_lock_ends_with_its_process(tmp_path):
    def die():
        with run_lock(str(tmp_path)):
            os.kill(os.getpid(), 9)

    assert in_child(die) == -9
    assert (tmp_path / "run.lock").exists()
    with run_lock(str(tmp_path), wait=0):
        pass
