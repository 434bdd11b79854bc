"""A function in two processes that can talk to each other."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm


def in_two_processes(function: Callable[[int], Any], folder: Path, start: str = "fork") -> list[Any]:
    """Return the results, or the exceptions, of ``function(rank)`` in two processes.

    Args:
        function: may call collective functions; what it returns or raises has to be plain.
        folder: for the file through which the processes find each other.
        start: "fork", or "forkserver" for a function of a module that computes gradients: a fork of a process that had
            some of another device than the CPU cannot.
    """
    context = multiprocessing.get_context(start)
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    processes = [
        context.Process(target=_run, args=(function, rank, str(folder / "store"), pipes[rank][1])) for rank in range(2)
    ]
    for process in processes:
        process.start()
    found = [reading.recv() if reading.poll(60) else TimeoutError("no answer") for reading, _ in pipes]
    for process in processes:
        process.kill()
        process.join()
    return found


def _run(function: Callable[[int], Any], rank: int, store: str, answer: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    try:
        answer.send(function(rank))
    except Exception as error:
        traceback.print_exc()
        answer.send(error)
    dist.barrier()
    os._exit(0)
