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


class RunLock:
    """A lock that is held. Until the run is accepted it may be refused, and then leaves the folder as it was.

    Args:
        folder: folder of the run.
        descriptor: of the open file.
        is_new: whether the file was not there before.
        folder_times: times of the folder before that, in nanoseconds.
    """

    def __init__(self, folder: str, descriptor: int, is_new: bool, folder_times: tuple[int, int]) -> None:
        self._folder, self._path = folder, os.path.join(folder, LOCK_FILE)
        self._descriptor = descriptor
        self._is_new = is_new
        self._folder_times = folder_times
        status = os.fstat(descriptor)
        self._times = status.st_atime_ns, status.st_mtime_ns
        self._before = os.pread(descriptor, status.st_size, 0)
        self._begun = False

    def begin(self) -> None:
        """Keep the entry in the file: the run begins."""
        self._begun = True

    def sign(self) -> None:
        """Write who has the lock."""
        entry = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        self._write(json.dumps(entry).encode())

    def withdraw(self) -> None:
        """Leave folder and file as they were, unless the run was accepted."""
        if self._begun:
            return
        with contextlib.suppress(OSError):
            if self._is_new:
                os.remove(self._path)
                os.utime(self._folder, ns=self._folder_times)
                return
            self._write(self._before)
            os.utime(self._descriptor, ns=self._times)

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk: the lock itself needs no space
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, content, 0)


@contextlib.contextmanager
def run_lock(folder: str, wait: float = WAIT) -> Iterator[RunLock]:
    """Hold a folder for this process while the block runs.

    The lock is the operating system's (POSIX record lock), so that it ends with the process, however that ends; over
    NFS it holds between machines. The file, which names the owner, stays when the run was accepted.

    Args:
        folder: folder of the run, which exists.
        wait: seconds to wait for another process that has the lock.

    Yields:
        The lock; call `begin` when nothing refuses the run any more.

    Raises:
        ValueError: another run has the folder, or the file cannot be opened.
    """
    deadline = time.monotonic() + wait
    status = os.stat(folder)
    folder_times = status.st_atime_ns, status.st_mtime_ns
    while True:
        descriptor, is_new = _open(os.path.join(folder, LOCK_FILE))
        try:
            _wait(descriptor, folder, deadline)
            if not _is_current(descriptor, folder):  # removed by a run that was refused meanwhile
                continue
            lock = RunLock(folder, descriptor, is_new, folder_times)
            lock.sign()
            try:
                yield lock
            finally:
                lock.withdraw()
            return
        finally:
            os.close(descriptor)


def _open(path: str) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            return os.open(path, flags | os.O_CREAT, 0o666), False
    except OSError as error:
        raise ValueError(f"{path}, which keeps a second run out of the folder, cannot be opened: {error}") from error


def _is_current(descriptor: int, folder: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(os.path.join(folder, LOCK_FILE)))
    except OSError:
        return False


def _wait(descriptor: int, folder: str, deadline: float) -> None:
    """Acquire the lock.

    Raises:
        ValueError: another process has it until the deadline.
    """
    while not _acquire(descriptor, folder):
        if time.monotonic() > deadline:
            owner = os.pread(descriptor, 4096, 0).decode(errors="replace") or "unknown"
            raise ValueError(
                f"train.output_dir {folder} is in use by another run, {owner}: stop that one or choose another "
                "train.output_dir"
            )
        time.sleep(_POLL)


def _acquire(descriptor: int, folder: str) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: somebody has it
        return False
    except OSError as error:
        logger.warning("%s cannot be locked, a second run in this folder will not be noticed: %s", folder, error)
    return True
