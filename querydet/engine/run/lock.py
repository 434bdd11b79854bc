"""One training run an output folder: the second is refused."""

import contextlib
import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import Iterator

logger = logging.getLogger(__name__)

LOCK_FILE = "run.lock"
WAIT = 10.0  # seconds for a run that is just ending, before a new one is refused
_POLL = 0.2  # seconds


@contextlib.contextmanager
def run_lock(folder: str, wait: float = WAIT) -> Iterator[None]:
    """Hold a folder for this process while the block runs.

    The lock is the operating system's (POSIX record lock), so that it ends with the process, however that ends; over
    NFS it holds between machines. The file, which names the owner, stays.

    Args:
        folder: folder of the run, which exists.
        wait: seconds to wait for another process that has the lock.

    Raises:
        ValueError: another run has the folder.
    """
    path = os.path.join(folder, LOCK_FILE)
    with open(path, "ab+", buffering=0) as file:
        deadline = time.monotonic() + wait
        while not _acquire(file.fileno(), path):
            if time.monotonic() > deadline:
                file.seek(0)
                owner = file.read().decode(errors="replace") or "unknown"
                raise ValueError(
                    f"train.output_dir {folder} is in use by another run, {owner}: stop that one or choose another "
                    "train.output_dir"
                )
            time.sleep(_POLL)
        with contextlib.suppress(OSError):  # a full disk: the lock itself needs no space
            file.truncate(0)
            entry = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            file.write(json.dumps(entry).encode())
        yield


def _acquire(descriptor: int, path: str) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: somebody has it
        return False
    except OSError as error:
        logger.warning("%s cannot be locked here, a second run in this folder will not be noticed: %s", path, error)
    return True
