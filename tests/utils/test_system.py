"""Processes that must not outlive the one that started them, and waits that end."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from querydet.utils.system import network_timeout, process_state

PARENT = """
import multiprocessing, os, time
from querydet.utils.system import die_with_parent

def child(queue):
    die_with_parent()
    queue.put(os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    queue = multiprocessing.get_context("fork").SimpleQueue()
    multiprocessing.get_context("fork").Process(target=child, args=(queue,)).start()
    print(queue.get(), flush=True)
    os._exit(0)  # as when it is killed: nothing is cleaned up
"""


def is_alive(pid: int) -> bool:
    """A process that has ended but whom nobody has waited for is dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends processes with their parent")
def test_a_child_ends_with_its_parent():
    ended = subprocess.run(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], timeout=60, check=True
    )
    deadline = time.monotonic() + 20
    while is_alive(int(ended.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(int(ended.stdout))


def test_a_stopped_process_is_called_so():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        assert process_state(child.pid) == "stopped"
        child.kill()
    assert process_state(child.pid) == process_state(None) == ""


def test_sockets_wait_only_so_long_while_the_block_runs():
    before = socket.getdefaulttimeout()
    with network_timeout(7.0):
        assert socket.getdefaulttimeout() == 7.0
    assert socket.getdefaulttimeout() == before
