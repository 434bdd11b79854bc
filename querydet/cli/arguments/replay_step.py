"""Repeat the training step that stopped a run with NaN or infinity, and find where they come from.

querydet replay output/nonfinite_0001234_rank0.pt
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("replay", __doc__)
    parser.add_argument("dump", help="nonfinite_*.pt in the folder of the run")
    parser.add_argument("--config-file", help="default: config.yaml beside the dump")
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides, such as train.device=cpu")
    return parser.parse_args(argv)
