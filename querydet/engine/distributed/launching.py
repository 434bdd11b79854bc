"""Processes of a run.

The processes are those of `querydet.engine.distributed.processes`, on GPUs or CPU, or those of torchrun and Slurm.
"""

import argparse
import os
import socket
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from detectron2.utils import comm

from querydet.engine.distributed.processes import run_processes
from querydet.engine.distributed.rendezvous import TIMEOUT, attempt_store

ENVIRONMENT = "env://"  # the address is in MASTER_ADDR and MASTER_PORT


def launch(main: Callable[[argparse.Namespace], object], args: argparse.Namespace) -> None:
    """Run ``main(args)`` in every process of the run.

    Args:
        main: a function of a module, not a closure: other processes import it.
        args: from `querydet.engine.distributed.arguments.argument_parser`.

    Raises:
        ValueError: arguments that contradict each other, or more GPUs than there are.
        ProcessDiedError: one of several processes failed.
        SystemExit: a request to stop ended the run (`querydet.engine.faults.stopping`).
    """
    check_arguments(args)
    if args.num_gpus == 0:
        # For everything that looks for GPUs itself.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ:
        _run_in_group(main, args, ENVIRONMENT)
        return
    processes = args.num_gpus or args.num_processes
    if processes * args.num_machines == 1:
        _run(main, args, 1)
        return
    address = _free_address() if args.dist_url == "auto" else args.dist_url
    run_processes(
        _run_in_group, processes, (main, args, address), partial(_rank_variables, processes, args.num_machines, args)
    )


def _rank_variables(processes: int, machines: int, args: argparse.Namespace, number: int) -> dict[str, str]:
    """Return the variables that torchrun would set."""
    return {
        "RANK": str(args.machine_rank * processes + number),
        "WORLD_SIZE": str(machines * processes),
        "LOCAL_RANK": str(number),
        "LOCAL_WORLD_SIZE": str(processes),
    }


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse arguments that contradict each other or the machine.

    Raises:
        ValueError: they do; the message says what to write instead.
    """
    if not args.config_file:
        raise ValueError("--config-file is missing, for example --config-file quick/dino_synthetic.py")
    behind = next((word for word in args.opts if word.startswith("--")), None)
    if behind is not None:
        raise ValueError(f"{behind} stands behind {args.opts[0]}: put options before changes of the config")
    if args.num_gpus < 0 or args.num_processes < 1 or args.num_machines < 1:
        raise ValueError("--num-gpus has to be at least 0, --num-processes and --num-machines at least 1")
    if args.num_gpus > 0 and args.num_processes > 1:
        raise ValueError("--num-processes is for the CPU, with --num-gpus 0; on GPUs there is one process per GPU")
    if args.num_gpus > torch.cuda.device_count():
        raise ValueError(
            f"--num-gpus {args.num_gpus} asked for, {torch.cuda.device_count()} found; --num-gpus 0 runs on the CPU"
        )
    if args.num_machines > 1 and args.dist_url == "auto":
        raise ValueError("several machines need --dist-url tcp://HOST:PORT, HOST being machine 0")


def _run(main: Callable[[argparse.Namespace], object], args: argparse.Namespace, processes: int) -> None:
    if processes > 1 and not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        # Every process otherwise starts a thread per core and they wait for each other.
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    main(args)
    # Not after an error: the other processes may be waiting in a collective call.
    if dist.is_initialized():
        dist.destroy_process_group()


def _run_in_group(main: Callable[[argparse.Namespace], object], args: argparse.Namespace, address: str) -> None:
    """Join the process group as the environment says, which torchrun, a Slurm job or `launch` has set."""
    rank, world_size, local_rank, local_size = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        # Slurm may show every process only its own GPU
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    where = {"store": attempt_store(rank, world_size)} if address == ENVIRONMENT else {"init_method": address}
    backend = "nccl" if has_gpu else "gloo"
    dist.init_process_group(backend, rank=rank, world_size=world_size, timeout=TIMEOUT, **where)
    comm.create_local_process_group(local_size)
    comm.synchronize()
    _run(main, args, local_size)
