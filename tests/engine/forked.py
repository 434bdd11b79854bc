"""A program in a process of its own that need not import everything again, which takes seconds.

Processes are forked from a server that has imported the engine and done nothing else: it has no threads, and nothing of
the tests.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerContext

import torch

PRELOADED = ["querydet.engine", "querydet.cli.commands", "querydet.data", "querydet.evaluation"]


def fork_server() -> ForkServerContext:
    """Return the context whose processes are forked from the server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def run_forked(
    program: Callable[[], object], argv: Sequence[str], timeout: float = 120, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a program, and return its exit status and everything that it printed, as `stdout`.

    Args:
        program: a function of a module, which reads its arguments from `sys.argv`.
        argv: the command line, the program's name first.
        timeout: seconds after which it is killed.
        environment: variables to set in the process.

    Raises:
        subprocess.TimeoutExpired: the program was killed.
    """
    with tempfile.NamedTemporaryFile("r") as output:
        arguments = (program, list(argv), {**os.environ, **environment}, output.name, os.getcwd())
        process = fork_server().Process(target=_become, args=arguments)
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(argv, timeout)
        return subprocess.CompletedProcess(argv, process.exitcode or 0, output.read(), "")


def _become(
    program: Callable[[], object], argv: list[str], environment: dict[str, str], output: str, folder: str
) -> None:
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
    os.environ.update(environment)
    os.chdir(folder)
    torch.set_num_threads(1)
    sys.argv = argv
    program()
