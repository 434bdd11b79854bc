"""Plot the quality of the candidates of several models by rank, as one PNG (after figure 1 of MS-DETR).

    querydet plot candidates RUN... --output candidates.png

For each object the 20 queries of the highest IoU with it, with their IoU and the score of its class. A run has these
numbers, candidates.json, after an evaluation (--eval-only too) whose config says

    dataloader.evaluator = [_evaluators.coco, _evaluators.candidates]

with _evaluators from configs/common/evaluators.py; see docs/evaluation.md.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("plot candidates", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders with a candidates.json, or such files")
    parser.add_argument("--output", required=True, help="the PNG file")
    return parser.parse_args(argv)
