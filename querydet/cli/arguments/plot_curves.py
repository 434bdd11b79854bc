"""Plot training runs as one PNG: loss and AP of boxes and masks, or any metrics; of repeated runs mean and spread.

    querydet plot curves RUN... [--output curves.png]
    querydet plot curves dino=out/a dino=out/b deta=out/c
    querydet plot curves RUN... --metrics bbox/AP segm/AP 'loss_*_dn' lr

RUN is the output folder of a run. Runs whose configs are equal but for the seed and the output folder repeat each other
and become one curve: their mean, as far as all of them go, and a band of one standard deviation. NAME=RUN says so by
hand: runs of the same name are one curve. Metrics are keys of metrics.json, or patterns in quotes; each
gets a panel.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("plot curves", __doc__)
    parser.add_argument("run_dirs", nargs="+", metavar="RUN", help="output folders of training runs, or NAME=FOLDER")
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="metrics to plot (default: the loss and AP)")
    parser.add_argument("--separate", action="store_true", help="a curve for every run, no means")
    parser.add_argument("--output", help="the PNG file (default: curves.png in the first run's folder)")
    return parser.parse_args(argv)
