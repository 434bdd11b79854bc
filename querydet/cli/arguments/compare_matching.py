"""Measure how much the matching of queries with objects changes between checkpoints: the instability score IS.

    querydet compare-matching RUN                             # what a run kept, each with the one before
    querydet compare-matching RUN/model_0001529.pth RUN/model_final.pth [key=value ...]
    querydet compare-matching first.pth second.pth --config-file CONFIG
    querydet compare-matching RUN/matching/matching_0000100.json RUN/matching/matching_0000200.json

IS (DN-DETR, arXiv 2203.01305, section 3) is the mean, over the images of the test set, of the queries whose object is
another one than in the state before, or none; it is at most twice the mean number of objects. IS_relative is IS as a
part of that maximum. A state is a checkpoint, or a matching that training kept (train.instability.enabled=True). RUN is
a folder: its matchings, or where it has none its checkpoints, are compared in their order.

To compare two states, a query of one has to be found in the other: learned queries by their number, and queries of
two-stage models by the encoder token that they were made from (docs/evaluation.md).
CONFIG is a LazyConfig file, a config.yaml, or the name of a config that comes with querydet; without it the config.yaml
beside the first checkpoint is used.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = command_parser("compare-matching", __doc__)
    parser.add_argument(
        "states",
        nargs="+",
        metavar="STATE",
        help="checkpoints, matchings or a run's folder; then changes of the config",
    )
    parser.add_argument("--config-file", help="of the checkpoints (default: config.yaml beside the first one)")
    parser.add_argument("--against-first", action="store_true", help="compare with the first state, not the one before")
    parser.add_argument("--output", help="also write the table to this json file")
    parser.add_argument("--keep", metavar="FOLDER", help="also write the matching of every checkpoint into this folder")
    return parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    return make_parser().parse_intermixed_args(argv)  # changes of the config may stand behind the options
