"""``querydet train`` and ``querydet eval``, whose options are in `querydet.cli.arguments.train`."""

import json
from collections.abc import Sequence

from querydet.cli.arguments.train import parse_arguments, parse_evaluation
from querydet.engine import launch
from querydet.engine import main as run
from querydet.evaluation import SubmissionWriter

RUN_FOLDER = "inference"  # of the run, for the detections of an evaluation


def main(argv: Sequence[str] | None = None) -> int:
    """Train, or evaluate or try as ``--eval-only`` and ``--dry-run`` say; return the exit status."""
    launch(run, parse_arguments(argv))
    return 0


def evaluate(argv: Sequence[str] | None = None) -> int:
    """Evaluate a checkpoint; return the exit status."""
    args = parse_evaluation(argv)
    if args.weights:
        args.opts = [*args.opts, f"train.init_checkpoint={json.dumps(args.weights)}"]
    if args.precision:
        args.opts = [*args.opts, f"train.eval_precision={args.precision}"]
    if args.submission:
        args.opts = [*args.opts, *_submission(args.submission)]
    launch(run, args)
    return 0


def _submission(name: str) -> list[str]:
    """Return the overrides that replace all evaluators by a writer."""
    node = {
        "_target_": f"{SubmissionWriter.__module__}.{SubmissionWriter.__name__}",
        "dataset": "${..test.dataset}",
        "name": name,
        "output_dir": f"${{train.output_dir}}/{RUN_FOLDER}",
    }
    entries = ",".join(f"{key}:{json.dumps(value)}" for key, value in node.items())
    return ["dataloader.evaluator=null", f"dataloader.evaluator={{{entries}}}"]
