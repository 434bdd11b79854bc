"""Plot the quality of the candidates of several models by rank, as one PNG (after figure 1 of MS-DETR).

    querydet plot candidates RUN... --output candidates.png

For each object the 20 queries of the highest IoU with it, with their IoU and the score of its class. A run has these
numbers, candidates.json, after an evaluation (--eval-only too) whose config says

    dataloader.evaluator = [_evaluators.coco, _evaluators.candidates]

with _evaluators from configs/common/evaluators.py; see docs/evaluation.md.
"""

from collections.abc import Sequence

from querydet.cli.options import command_parser
from querydet.visualization.candidate_pictures import plot_ranks


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = command_parser("plot candidates", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders with a candidates.json, or such files")
    parser.add_argument("--output", required=True, help="the PNG file")
    args = parser.parse_args(argv)
    plot_ranks(args.runs, args.output)
    print(f"wrote {args.output}")
    return 0
