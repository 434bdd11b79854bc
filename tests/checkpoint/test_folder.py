"""Which checkpoint of a folder is taken, whatever moment the run was killed at."""

import os
import signal

import pytest
import torch
from torch import nn

from querydet.checkpoint import Checkpointer, last_iteration
from querydet.checkpoint.folder import candidates, remove_old
from querydet.checkpoint.seal import damage


def save(folder, *iterations):
    for iteration in iterations:
        Checkpointer(nn.Linear(2, 2), str(folder)).save(f"model_{iteration:07d}", iteration=iteration)


def names(folder):
    return [os.path.basename(path) for path in candidates(str(folder))]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_file_written_after_the_pointer_is_the_newest(tmp_path):
    """The run was killed between the two."""
    save(tmp_path, 9)
    pointer = (tmp_path / "last_checkpoint").read_bytes()
    status = os.stat(tmp_path / "last_checkpoint")
    save(tmp_path, 19)
    (tmp_path / "last_checkpoint").write_bytes(pointer)
    os.utime(tmp_path / "last_checkpoint", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert names(tmp_path)[0] == "model_0000019.pth"


def test_pointer_written_last_decides(tmp_path):
    """After a damaged file was passed over, or by somebody's hand."""
    save(tmp_path, 9, 19)
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    os.utime(tmp_path / "last_checkpoint", ns=(2**62, 2**62))
    assert names(tmp_path) == ["model_0000009.pth", "model_0000019.pth"]


def test_a_clock_that_was_set_back_does_not_matter(tmp_path):
    save(tmp_path, 9, 19)
    os.utime(tmp_path / "model_0000019.pth", (1, 1))
    (tmp_path / "last_checkpoint").unlink()
    assert names(tmp_path) == ["model_0000019.pth", "model_0000009.pth"]


def test_final_model_is_ordered_by_the_iteration_in_it(tmp_path):
    save(tmp_path, 9, 29)
    Checkpointer(nn.Linear(2, 2), str(tmp_path)).save("model_final", iteration=19)
    (tmp_path / "last_checkpoint").unlink()
    assert names(tmp_path) == ["model_0000029.pth", "model_final.pth", "model_0000009.pth"]


def test_as_many_whole_checkpoints_are_kept_as_wanted(tmp_path):
    save(tmp_path, 9, 19, 29, 39, 49)
    flip(tmp_path / "model_0000029.pth")
    remove_old(str(tmp_path), keep=2, iteration=39)
    # 49 is of an earlier attempt, 29 is damaged: neither counts, and neither is removed
    assert sorted(names(tmp_path)) == [f"model_00000{number}9.pth" for number in (1, 2, 3, 4)]


def test_kill_at_every_step_of_saving(tmp_path, monkeypatch):
    """A process is killed before and after everything that it does to the file system while it saves and removes.

    Whatever it has done by then: there is a whole checkpoint, and the pointer names a whole one.
    """
    moment, killed = 0, True
    while killed:
        folder = tmp_path / str(moment)
        folder.mkdir()
        save(folder, 9)
        child = os.fork()
        if not child:
            kill_at(monkeypatch, moment)
            save(folder, 19)
            remove_old(str(folder), keep=1, iteration=19)
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        found = Checkpointer(nn.Linear(2, 2), str(folder)).get_checkpoint_file()
        # the newest that is there under its name
        assert last_iteration(found) == (19 if (folder / "model_0000019.pth").exists() else 9), moment
        assert damage(str(folder / (folder / "last_checkpoint").read_text())) is None, moment
        moment += 1
    assert names(folder) == ["model_0000019.pth"]
    assert moment > 20


def kill_at(monkeypatch, moment):
    """Ends this process by SIGKILL before (even) or after (odd) the call of that number which changes a file."""
    seen = iter(range(10_000))

    def watched(function):
        def call(*arguments, **options):
            for before in (True, False):
                if next(seen) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                if before:
                    result = function(*arguments, **options)
            return result

        return call

    class File:
        def __init__(self, file):
            self._file = file

        def __getattr__(self, name):
            return watched(self._file.write) if name == "write" else getattr(self._file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

    for name in ("replace", "remove", "fsync"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    real = open
    monkeypatch.setattr(
        "querydet.utils.atomic.open",
        lambda *arguments: File(watched(real)(*arguments, 0)),  # unbuffered: what is written is in the file
        raising=False,
    )


@pytest.mark.parametrize("content", ["", "../x.pth", "model_best.pth", "absent.pth"])
def test_pointer_is_a_hint(tmp_path, content):
    save(tmp_path, 9)
    torch.save({"iteration": 99}, tmp_path.parent / "x.pth")
    (tmp_path / "last_checkpoint").write_text(content)
    assert names(tmp_path) == ["model_0000009.pth"]
