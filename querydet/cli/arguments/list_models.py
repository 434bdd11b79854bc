"""List the published models, whose names stand for a config and its weights in querydet demo and querydet visualize.

querydet zoo                                    # all of them
querydet zoo dino_r50_4scale_12ep               # one
querydet zoo dino_r50_4scale_12ep --download    # also download, verify and convert its weights

Everywhere else the weights are querydet://NAME, as --weights or train.init_checkpoint, beside the config's file.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = command_parser("zoo", __doc__)
    parser.add_argument("name", nargs="?", help="a model; default: list all")
    parser.add_argument("--download", action="store_true", help="print the local file of its converted weights")
    return parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.download and args.name is None:
        parser.error("--download needs the name of a model")
    return args
