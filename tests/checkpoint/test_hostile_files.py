"""Files of strangers that want to hang, to exhaust the memory or to mislead: a clear refusal, soon, and no trace."""

import os
import resource
import signal
import socket
import sys

import pytest
import torch

from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.weights import find_weights
from tests.checkpoint.hostile import FILES, pth

SECONDS = 10
MEMORY = 1 << 30  # bytes that a refusal may take beside what the process has


def refusal(path):
    """Read the weights of a file; return the message."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        find_weights(read_checkpoint(str(path)), str(path))
    return str(error.value)


def in_a_process(function, *arguments):
    """Return the text that a function returns in a process with little time and memory; its fate instead of it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        signal.alarm(SECONDS)
        try:
            answer = function(*arguments)
        except BaseException as error:  # the parent is to see it
            answer = f"FAILED {error!r:.500}"
        os.write(writing, answer.encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return text if os.WIFEXITED(status) else f"FAILED by signal {os.WTERMSIG(status)}"


def traces():
    """What a refusal must leave as it was."""
    return set(sys.modules), set(torch.serialization.get_safe_globals()), set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", FILES)
def test_refused_soon_with_a_message_and_without_a_trace(tmp_path, name):
    path = tmp_path / name
    FILES[name](path)
    sound = tmp_path / "sound.pth"
    pth(b"}")(sound)

    def read():
        read_checkpoint(str(sound))  # imports what any file needs
        before = traces()
        message = refusal(path)
        left = [after ^ kept for after, kept in zip(traces(), before, strict=True)]
        return f"FAILED trace: {left}" if any(left) else message

    message = in_a_process(read)
    assert not message.startswith("FAILED"), message
    assert name in message
    assert len(message) < 1000
    assert message.isprintable()
    assert "MemoryError" not in message
    assert "DefaultCPUAllocator" not in message


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "directory", "absent"])
def test_what_is_no_file_is_not_opened(tmp_path, kind):
    path = tmp_path / "model.pth"
    listener = socket.socket(socket.AF_UNIX)
    {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "socket": lambda: listener.bind(str(path)),
        "directory": path.mkdir,
        "absent": lambda: None,
    }[kind]()
    with listener:
        message = in_a_process(refusal, path)
    assert ("does not exist" if kind == "absent" else f"is a {'named pipe' if kind == 'pipe' else kind}") in message


def test_limits_are_named_with_the_way_around_them(tmp_path):
    path = tmp_path / "model.pkl"
    FILES["shared lists.pkl"](path)
    assert "MAX_ITEMS of querydet.checkpoint.limits" in refusal(path)
    assert "--trust" in refusal(path)


def test_refusals_name_what_they_found(tmp_path):
    for name, found in {
        "exec.pkl": "builtins.exec",
        "sparse.pth": "a sparse tensor",
        "meta.pth": "a tensor on the meta device",
        "quantised.pth": "a quantised tensor",
        "subclass.pth": "a subclass of tensors",
        "complex.pth": "'weight': torch.complex64",
        "storage longer than record.pth": "to have 4,000 bytes, and has 4",
        "compressed.pth": "compressed",
    }.items():
        FILES[name](tmp_path / name)
        assert found in refusal(tmp_path / name)


def test_globals_that_were_allowed_before_stay_allowed(tmp_path):
    import argparse

    torch.save({"model": {"weight": torch.ones(1)}, "args": argparse.Namespace(a=1)}, tmp_path / "model.pth")
    with torch.serialization.safe_globals([argparse.Namespace]):
        read_checkpoint(str(tmp_path / "model.pth"))
        assert argparse.Namespace in torch.serialization.get_safe_globals()
