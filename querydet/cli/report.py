"""``querydet report``, whose options are in `querydet.cli.arguments.report`."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from querydet.cli.arguments.report import parse_arguments
from querydet.evaluation.error_analysis import Settings
from querydet.report import Options, make_report
from querydet.utils.atomic import atomic_write
from querydet.utils.progress import ProgressBar
from querydet.visualization.runs import read_groups


def _progress(images: Iterable[Any], label: str) -> Iterable[Any]:
    return ProgressBar(images, desc=label, unit="image", disable=None, leave=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_arguments(argv)
    groups = read_groups(args.runs, args.separate)
    settings = Settings(min_score=args.min_score, worst=args.worst)
    page = make_report(groups, Options(args.title, not args.no_errors, settings), _progress)
    os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
    with atomic_write(args.output) as file:
        file.write(page.encode())
    print(f"wrote {args.output} ({os.path.getsize(args.output) / 2**20:.1f} MB)")
    return 0
