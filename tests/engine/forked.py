"""A program in a process that is forked from this one: it need not import everything again, which takes seconds."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

import torch


def run_forked(
    program: Callable[[], object], argv: Sequence[str], timeout: float = 120, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a program, and return its exit status and everything that it printed, as `stdout`.

    Args:
        program: reads its arguments from `sys.argv`.
        argv: the command line, the program's name first.
        timeout: seconds after which it is killed.
        environment: variables to set in the process.

    Raises:
        subprocess.TimeoutExpired: the program was killed.
    """
    with tempfile.TemporaryFile("w+") as output:
        process = multiprocessing.get_context("fork").Process(
            target=_become, args=(program, list(argv), environment, output.fileno())
        )
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(argv, timeout)
        output.seek(0)
        return subprocess.CompletedProcess(argv, process.exitcode or 0, output.read(), "")


def can_fork() -> bool:
    """Whether a forked process can train: this one must not have started threads, which do not come along.

    Gradients start some on a machine with a GPU, and OpenMP does without `OMP_NUM_THREADS=1`.
    """
    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


def _become(program: Callable[[], object], argv: list[str], environment: dict[str, str], output: int) -> None:
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.argv = argv
    program()
