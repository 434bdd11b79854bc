"""Plots loss and AP of one or more training runs as one PNG.

python tools/plot_curves.py RUN_DIR... [--output curves.png]
"""

import argparse
import os
import sys
from collections.abc import Sequence

from querydet.visualization import plot_curves


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dirs", nargs="+", metavar="RUN_DIR", help="output folders of training runs")
    parser.add_argument("--output", help="the PNG file (default: curves.png in the first run's folder)")
    args = parser.parse_args(argv)
    output = args.output or os.path.join(args.run_dirs[0], "curves.png")
    plot_curves(args.run_dirs, output)
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
