"""Write the results of a training run into a data file, beside the command, commit, machine and date that made them.

python tools/record_run.py output/quickstart --output benchmarks/results/quickstart.json

These come from the ``run.json`` that training leaves in its folder. Without one, of an older run, they are those of the
recording, which the file then says.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from querydet import config, visualization
from querydet.utils.provenance import provenance, read_parts

MEASURES = {"bbox/AP": "AP", "bbox/AP50": "AP50", "segm/AP": "mask_AP", "segm/AP50": "mask_AP50"}
BEST = ("bbox/AP50", "segm/AP50")


def record_run(run: str) -> dict[str, Any]:
    """Collect the result of a run.

    Args:
        run: its output folder, with ``metrics.json``, ``config.yaml`` and ``run.json``.

    Returns:
        Provenance, ``iterations``, ``batch_size``, ``minutes`` (of all parts of the run, start-up and evaluations
        included), ``evaluations`` (iteration -> AP, AP50), ``best_AP50``, ``num_classes``, and a ``note`` on what is
        not known. A run with masks also has ``mask_AP`` and ``mask_AP50`` of its evaluations, and ``best_mask_AP50``.

    Raises:
        FileNotFoundError: the folder is not that of a run.
        ValueError: the run was never evaluated.
    """
    metrics = visualization.read_metrics(run)
    if not metrics.get("bbox/AP50"):
        raise ValueError(f"{run} holds no evaluation: nothing to record")
    cfg = config.load_config(str(Path(run) / "config.yaml"))
    iterations = max(metrics["total_loss"]) + 1
    evaluations: dict[str, dict[str, float]] = {}
    for metric, name in MEASURES.items():
        for iteration, value in metrics.get(metric, {}).items():
            evaluations.setdefault(str(iteration + 1), {})[name] = round(value, 3)
    return {
        **origin(run, iterations, sorted(metrics["time"].values())),
        "iterations": iterations,
        "batch_size": cfg.dataloader.train.total_batch_size,
        "evaluations": evaluations,
        **{f"best_{MEASURES[name]}": round(max(metrics[name].values()), 3) for name in BEST if metrics.get(name)},
        "num_classes": cfg.model.num_classes,
    }


def origin(run: str, iterations: int, step_seconds: Sequence[float]) -> dict[str, Any]:
    """Return provenance and minutes of a run; ``note`` names guessed values."""
    parts = [part for part in read_parts(run) if part["start_iteration"] < iterations]  # others only evaluated
    estimate = round(step_seconds[len(step_seconds) // 2] * iterations / 60, 1)
    guess = "minutes are the median step times the iterations"
    if not parts:
        note = f"the run left no run.json: commit, date, machine and load are those of the recording, {guess}"
        return {**provenance(sys.argv), "minutes": estimate, "note": note}
    found = {key: value for key, value in parts[0].items() if key not in ("start_iteration", "minutes")}
    if all("minutes" in part for part in parts):
        return {**found, "minutes": round(sum(part["minutes"] for part in parts), 1)}
    return {**found, "minutes": estimate, "note": f"a part of the run was killed: {guess}"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="output folder of a training run")
    parser.add_argument("--output", required=True, help="json file to write")
    parser.add_argument("--command", help="the command to show instead of the recorded one, such as 'make quickstart'")
    arguments = parser.parse_args(argv)
    record = record_run(arguments.run)
    if arguments.command:
        record["command"] = arguments.command
    elif not read_parts(arguments.run):
        parser.error(f"{arguments.run} has no run.json that tells the command: add --command")
    Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    Path(arguments.output).write_text(json.dumps(record, indent=2) + "\n")
    print(f"{arguments.output}: best AP50 {record['best_AP50']:.1f} after {record['iterations']} iterations")
    if "note" in record:
        print(f"note: {record['note']}")


if __name__ == "__main__":
    main()
