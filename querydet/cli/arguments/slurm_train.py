"""Submit a training run to Slurm through submitit, or try it here; a preempted or timed-out run is continued.

    querydet slurm --nodes 2 --gpus-per-node 8 --hours 24 --partition gpu --config-file CONFIG [key=value ...]

Options that this command does not know are given to querydet train, always with --resume. Before the time limit, or
when it takes the machine away, Slurm sends a signal: the run writes a checkpoint after its step, and the job is queued
again and continues. ``--cluster local`` runs the job in processes of this machine, ``--cluster debug`` in this one.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser


def parse_arguments(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
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
