"""``querydet plot curves``, whose options are in `querydet.cli.arguments.plot_curves`."""

import os
from collections.abc import Sequence

from querydet.cli.arguments.plot_curves import parse_arguments
from querydet.visualization import plot_curves


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_arguments(argv)
    first = args.run_dirs[0]
    folder = first if os.path.exists(first) else first.partition("=")[2]
    output = args.output or os.path.join(folder, "curves.png")
    plot_curves(args.run_dirs, output, args.metrics, args.separate)
    print(f"wrote {output}")
    return 0
