"""A progress bar does not wait for processes that are gone."""

import os
import signal

from tqdm import tqdm

from querydet.utils.progress import ProgressBar


def test_a_killed_process_that_held_the_lock_of_bars_blocks_nobody(capfd):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        ProgressBar.get_lock().acquire()
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert list(ProgressBar(range(3), mininterval=0)) == [0, 1, 2]
    assert "3/3" in capfd.readouterr().err
    os.close(read)
    os.close(write)


def test_other_bars_keep_their_lock():
    assert ProgressBar.get_lock() is not tqdm.get_lock()
