"""Plots training runs as one PNG: loss and AP, or any metrics; of runs that repeat each other the mean and its spread.

    python tools/plot_curves.py RUN... [--output curves.png]
    python tools/plot_curves.py dino=out/a dino=out/b deta=out/c
    python tools/plot_curves.py RUN... --metrics bbox/AP 'loss_*_dn' lr

RUN is the output folder of a run. Runs whose configs are equal but for the seed and the output folder repeat each other
and become one curve: their mean, as far as all of them go, and a band of one standard deviation. NAME=RUN says so by
hand: runs of the same name are one curve. Metrics are what metrics.json has, by name or by a pattern in quotes; each
gets a panel.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from querydet.visualization import plot_curves


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dirs", nargs="+", metavar="RUN", help="output folders of training runs, or NAME=FOLDER")
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="what to plot (default: the loss and AP)")
    parser.add_argument("--separate", action="store_true", help="a curve for every run, no means")
    parser.add_argument("--output", help="the PNG file (default: curves.png in the first run's folder)")
    args = parser.parse_args(argv)
    first = args.run_dirs[0]
    folder = first if os.path.exists(first) else first.partition("=")[2]
    output = args.output or os.path.join(folder, "curves.png")
    plot_curves(args.run_dirs, output, args.metrics, args.separate)
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
