"""Write one self-contained HTML file about one or several training runs.

    querydet report RUN... --output report.html
    querydet report dino=out/a dino=out/b deta=out/c --title 'DINO and DETA'

RUN is the output folder of a run. The file needs no network and nothing beside it; it can be mailed. Its sections:

    results     the last evaluation: COCO's measures of boxes and masks, AP by class, any other measure; the best AP
    curves      loss and AP of boxes and masks, the parts of the loss, gradients, learning rate
    errors      precision over recall, TIDE's errors and their costs, confusions, the worst images; for runs that have a
                results file (querydet errors --help) and whose test set is still there
    pictures    those of training (train.pictures.enabled=True), and images in the run's folder
    timing      seconds of an iteration by part, throughput, memory, minutes
    runs        from run.json: command, commit, machine, versions, data, changes that were not committed
    config      where the configs differ, and each of them

Several runs are shown beside each other. Runs whose configs are equal but for the seed and the output folder become one
column and one curve, the mean with its standard deviation; NAME=RUN says by hand which belong together, --separate
keeps all apart.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("report", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="output folders of training runs, or NAME=FOLDER")
    parser.add_argument("--output", required=True, help="the HTML file")
    parser.add_argument("--title", default="Training runs", help="the heading (default '%(default)s')")
    parser.add_argument("--separate", action="store_true", help="a column for every run, no means")
    parser.add_argument("--no-errors", action="store_true", help="leave out the analysis of results files")
    parser.add_argument("--worst", type=int, default=8, help="worst images of a run, 0 for none (default %(default)s)")
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.3,
        help="smallest score in the confusion matrix and the worst images (default %(default)s)",
    )
    return parser.parse_args(argv)
