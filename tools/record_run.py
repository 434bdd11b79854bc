"""Writes what a training run reached into a data file, beside the command, commit, machine and date that made it.

python tools/record_run.py output/quickstart --output benchmarks/results/quickstart.json
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from querydet.config import load_config
from querydet.provenance import provenance
from querydet.visualization import read_metrics


def record_run(run: str) -> dict[str, object]:
    """Collect the result of a run.

    Args:
        run: its output folder, with ``metrics.json`` and ``config.yaml``.

    Returns:
        ``iterations``, ``minutes`` (of training steps and data, by the median step; evaluations come on top),
        ``evaluations`` (iteration -> AP, AP50), ``best_AP50``, ``data`` and ``num_classes``.

    Raises:
        FileNotFoundError: the folder is not that of a run.
        ValueError: the run was never evaluated.
    """
    metrics = read_metrics(run)
    if not metrics.get("bbox/AP50"):
        raise ValueError(f"{run} holds no evaluation: nothing to record")
    cfg = load_config(str(Path(run) / "config.yaml"))
    iterations = max(metrics["total_loss"]) + 1
    seconds = sorted(metrics["time"].values())
    evaluations = {
        str(iteration + 1): {"AP": round(metrics["bbox/AP"][iteration], 3), "AP50": round(value, 3)}
        for iteration, value in metrics["bbox/AP50"].items()
    }
    return {
        "iterations": iterations,
        "batch_size": cfg.dataloader.train.total_batch_size,
        "minutes": round(seconds[len(seconds) // 2] * iterations / 60, 1),
        "evaluations": evaluations,
        "best_AP50": max(each["AP50"] for each in evaluations.values()),
        "num_classes": cfg.model.num_classes,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="output folder of a training run")
    parser.add_argument("--output", required=True, help="json file to write")
    parser.add_argument("--command", required=True, help="the command that trained, to be repeated by the reader")
    arguments = parser.parse_args(argv)
    record = {**provenance(sys.argv), "command": arguments.command, **record_run(arguments.run)}
    Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    Path(arguments.output).write_text(json.dumps(record, indent=2) + "\n")
    print(f"{arguments.output}: best AP50 {record['best_AP50']:.1f} after {record['iterations']} iterations")


if __name__ == "__main__":
    main()
