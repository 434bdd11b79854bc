"""``querydet plot candidates``, whose options are in `querydet.cli.arguments.plot_candidates`."""

from collections.abc import Sequence

from querydet.cli.arguments.plot_candidates import parse_arguments
from querydet.visualization.candidate_pictures import plot_ranks


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_arguments(argv)
    plot_ranks(args.runs, args.output)
    print(f"wrote {args.output}")
    return 0
