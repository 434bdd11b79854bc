"""The operating system: processes that end with their parent, and waits that end."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator

NETWORK_SILENCE = 60.0  # seconds without a byte after which a connection counts as broken
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)


def die_with_parent() -> None:
    """Ask the operating system to kill this process when its parent ends (Linux; no effect elsewhere)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # the parent ended before the call above
        os._exit(1)


_STATES = {"T": "stopped", "t": "stopped by a debugger", "D": "waiting for a device", "Z": "ended"}


def process_state(pid: int | None) -> str:
    """Describe why a process may not answer: "stopped", for example; "" when there is nothing to say (Linux)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return _STATES.get(file.read().rpartition(")")[2].split()[0], "")
    except (OSError, IndexError):
        return ""


@contextlib.contextmanager
def network_timeout(seconds: float = NETWORK_SILENCE) -> Iterator[None]:
    """End waits for the network while the block runs, also those of libraries without limits of their own (iopath).

    Args:
        seconds: without a byte; then the library sees a `TimeoutError`.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
