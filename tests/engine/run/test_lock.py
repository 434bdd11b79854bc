"""One run a folder."""

import os

import pytest

from querydet.engine.run import lock as lock_module
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


def everything(folder):
    return {
        path.name: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in (folder, *folder.iterdir())
    }


@pytest.mark.parametrize("content", [None, b"", b"\xff binary"])
def test_a_run_that_is_not_accepted_leaves_the_folder_as_it_was(tmp_path, content):
    if content is not None:
        (tmp_path / "run.lock").write_bytes(content)
    os.utime(tmp_path, ns=(10**18, 10**18))
    before = everything(tmp_path)
    with pytest.raises(ZeroDivisionError), run_lock(str(tmp_path)):
        raise ZeroDivisionError
    assert everything(tmp_path) == before
    with run_lock(str(tmp_path)) as lock:
        lock.begin()
    assert b'"pid"' in (tmp_path / "run.lock").read_bytes()


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_again(tmp_path, monkeypatch):
    """By a run that was refused between opening and locking: else two runs hold locks on two files."""
    acquire, removed = lock_module._acquire, []

    def remove_first(descriptor, folder):
        if not removed:
            removed.append(os.remove(tmp_path / "run.lock"))
        return acquire(descriptor, folder)

    monkeypatch.setattr(lock_module, "_acquire", remove_first)
    with run_lock(str(tmp_path)) as lock:
        lock.begin()
        assert os.path.samestat(os.fstat(lock._descriptor), os.stat(tmp_path / "run.lock"))


def test_what_cannot_be_a_lock_is_refused_by_its_name(tmp_path):
    (tmp_path / "run.lock").mkdir()
    with pytest.raises(ValueError, match=r"run.lock, which keeps a second run out"), run_lock(str(tmp_path)):
        pass
