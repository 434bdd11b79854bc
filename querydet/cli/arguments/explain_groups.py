"""Evaluate and draw the groups of queries of a checkpoint, on any data set (arXiv 2207.13085).

    querydet groups ap --config-file CONFIG --weights model_final.pth --output groups.json
    querydet groups points --config-file CONFIG --weights model_final.pth --output points.png --index 3

"ap" evaluates every group as if inference had kept it (figure 4). "points" draws where the queries of all groups start
that are matched with an object, and their predictions (figure 3). For the stability of the matching over checkpoints
(figure 5) see querydet compare-matching, for the cost of folded attention (figure 7) benchmarks/group_attention.py.
The checkpoint must hold the weights of training: exported ones have only the primary group. key=value changes the
config, such as train.device=cpu.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser, split_overrides


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("groups", __doc__)
    parser.add_argument("command", choices=("ap", "points"))
    parser.add_argument("--config-file", required=True, help="config of the model")
    parser.add_argument("--weights", required=True, help="checkpoint to load")
    parser.add_argument("--output", required=True, help="the json file of ap, the PNG file of points")
    parser.add_argument("--index", type=int, default=0, help="image of the test data, counted from 0 (points)")
    parser.add_argument("--object", nargs="+", type=int, default=[], help="which, from 0; default: all (points)")
    given, overrides = split_overrides(argv)
    args = parser.parse_args(given)
    args.overrides = overrides
    return args
