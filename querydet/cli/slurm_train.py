"""``querydet slurm``, whose options are in `querydet.cli.arguments.slurm_train`."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from querydet.cli.arguments.slurm_train import parse_arguments

REQUEUE = signal.SIGUSR2  # what submitit asks Slurm to send
STOP = signal.SIGUSR1  # what the training takes as: finish the step, write a checkpoint, end


class TrainingJob:
    """The training in every process of the job; submitit writes it to a file, and again for a requeue.

    Args:
        argv: arguments of ``querydet train``.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)

    def __call__(self) -> None:
        """Join the other processes of the job and train."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import submitit

        from querydet.engine import argument_parser, launch, main

        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        with RequeueAfterCheckpoint():
            launch(main, argument_parser().parse_args(self.argv))

    def checkpoint(self, *_: Any) -> Any:
        """Return the job for the queue after a preemption: the same one, which resumes."""
        import submitit

        return submitit.helpers.DelayedSubmission(TrainingJob(self.argv))


class RequeueAfterCheckpoint:
    """Passes submitit's signal to the training, which stops after a checkpoint, and queues the job again after that.

    submitit by itself would queue the job at once and end in the middle of a step. Before the training listens, and
    after it has ended, the signal does what submitit does with it.
    """

    def __init__(self) -> None:
        self._requeue: Callable[[int, FrameType | None], Any] | int | None = None
        self._asked = False

    def __enter__(self) -> None:
        self._requeue = signal.getsignal(REQUEUE)
        self._before = signal.getsignal(STOP)
        signal.signal(REQUEUE, self._on_signal)

    def __exit__(self, *_: object) -> None:
        signal.signal(REQUEUE, self._requeue)
        if self._asked:
            self._call(None)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if signal.getsignal(STOP) == self._before:
            self._call(frame)
            return
        self._asked = True
        signal.raise_signal(STOP)

    def _call(self, frame: FrameType | None) -> None:
        if callable(self._requeue):
            self._requeue(REQUEUE, frame)


def parameters(args: argparse.Namespace) -> dict[str, Any]:
    """Return submitit's parameters."""
    options: dict[str, Any] = {
        "name": args.name,
        "nodes": args.nodes,
        "gpus_per_node": args.gpus_per_node,
        "tasks_per_node": args.gpus_per_node or args.processes_per_node,
        "cpus_per_task": args.cpus_per_process,
        "timeout_min": max(1, round(args.hours * 60)),
        "slurm_signal_delay_s": args.signal_seconds,
    }
    if args.partition:
        options["slurm_partition"] = args.partition
    if args.slurm:
        options["slurm_additional_parameters"] = dict(option.split("=", 1) for option in args.slurm)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args, rest = parse_arguments(argv)
    try:
        import submitit
    except ImportError:
        print("Slurm jobs need submitit: pip install 'submitit>=1.5'", file=sys.stderr)
        return 2
    executor = submitit.AutoExecutor(args.folder, cluster=args.cluster, slurm_max_num_timeout=args.max_requeues)
    executor.update_parameters(**parameters(args))
    root = Path(__file__).resolve().parents[2]
    if (root / "train_net.py").is_file():  # jobs import the package from the checkout that they were submitted from
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    job = executor.submit(TrainingJob(rest))
    print(f"job {job.job_id}, logs in {os.path.abspath(args.folder)}")
    if args.wait or args.cluster != "slurm":
        job.results()
        print(f"job {job.job_id} is done")
    return 0
