"""Submit a training run to Slurm through submitit, or try it here; a preempted or timed-out run is continued.

    querydet slurm --nodes 2 --gpus-per-node 8 --hours 24 --partition gpu --config-file CONFIG [key=value ...]

Options that this command does not know are given to querydet train, always with --resume. Before the time limit, or
when it takes the machine away, Slurm sends a signal: the run writes a checkpoint after its step, and the job is queued
again and continues. ``--cluster local`` runs the job in processes of this machine, ``--cluster debug`` in this one.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from querydet.cli.options import command_parser

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


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Parse the command line.

    Returns:
        Options of the job, and arguments of ``querydet train``.
    """
    parser = command_parser("slurm", __doc__)
    parser.add_argument("--cluster", choices=("slurm", "local", "debug"), default="slurm")
    parser.add_argument("--folder", default="output/slurm", help="of the job's logs (default %(default)s)")
    parser.add_argument("--name", default="querydet", help="of the job (default %(default)s)")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus-per-node", type=int, default=8, help="one process each; 0: the CPU")
    parser.add_argument("--processes-per-node", type=int, default=1, help="on the CPU, with --gpus-per-node 0")
    parser.add_argument("--cpus-per-process", type=int, default=8)
    parser.add_argument("--hours", type=float, default=24.0, help="time limit of the job, after which it is requeued")
    parser.add_argument("--max-requeues", type=int, default=20, help="how often, after the time limit")
    parser.add_argument("--signal-seconds", type=int, default=120, help="between the signal and the end of the job")
    parser.add_argument("--partition", default=None)
    parser.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help="further options of sbatch")
    parser.add_argument("--wait", action="store_true", help="until the job is done; else print its number and return")
    args, rest = parser.parse_known_args(argv)
    if args.nodes < 1 or args.gpus_per_node < 0 or args.processes_per_node < 1:
        parser.error("--nodes and --processes-per-node have to be at least 1, --gpus-per-node at least 0")
    if any("=" not in option for option in args.slurm):
        parser.error(f"--slurm takes KEY=VALUE, got {args.slurm}")
    if "--config-file" not in [word.partition("=")[0] for word in rest]:
        parser.error("--config-file is missing")
    # Processes are submitit's here: the training learns the number of GPUs only to know whether there are any.
    return args, ["--num-gpus", str(min(args.gpus_per_node, 1)), "--resume", *rest]


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
    args, rest = parse(argv)
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
