"""Collects the stages of `gpu_operator.sh` in one results file.

    python -m benchmarks.gpu_report stage FOLDER NAME STATUS SECONDS      # the result of one stage
    python -m benchmarks.gpu_report collect FOLDER OUTPUT [--dry-run]     # everything in FOLDER
    python -m benchmarks.gpu_report table OUTPUT                          # its times as Markdown

Stages that failed, ran out of time or were left out are in the file too, with the end of their logs.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.operator_gpu import describe_gpu
from querydet.utils.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
MEANINGS = {0: "passed", 3: "left out", 124: "out of time", 137: "out of time"}
TAIL = 3000  # characters of a log that are kept


def describe_stage(folder: Path, name: str, status: int, seconds: int) -> dict[str, Any]:
    """Return the entry of a stage in the results file."""
    log = folder / f"{name}.log"
    text = log.read_text(errors="replace") if log.is_file() else ""
    meaning = MEANINGS.get(status, "failed")
    return {"stage": name, "result": meaning, "exit_status": status, "seconds": seconds, "log_end": text[-TAIL:]}


def collect(folder: Path, dry_run: bool) -> dict[str, Any]:
    """Collect all stages in their order, the benchmark's own report, and the measured ceilings."""
    stages = [json.loads(line) for line in (folder / "stages.jsonl").read_text().splitlines()]
    report: dict[str, Any] = {**provenance(sys.argv), "dry_run": dry_run}
    import torch

    report["gpu"] = describe_gpu() if torch.cuda.is_available() else None
    report["stages"] = stages
    for name in ("benchmark", "ceilings"):
        path = folder / f"{name}.json"
        try:
            report[name] = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            report[name] = {"missing": f"{type(error).__name__}: {error}"}
    return report


def make_table(report: dict[str, Any]) -> str:
    """Return a Markdown table of microseconds: forward, backward, and the deterministic backward of ours."""
    lines = [
        "| case | dtype | implementation | forward | backward | deterministic backward | error of output |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in report["benchmark"].get("results", []):
        cells = [row["case"], row["dtype"], row["peer"]]
        if "failed" in row:
            cells += [row["failed"].replace("|", "/")[:80], "", "", ""]
        else:
            forward = row.get("forward_graph_us") or row["forward_us"]
            deterministic = row.get("deterministic_backward_us")
            cells += [f"{forward:.1f}", f"{row['backward_us']:.1f}"]
            cells += ["" if deterministic is None else f"{deterministic:.1f}", f"{row['errors']['output']:.1e}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    stage = commands.add_parser("stage")
    stage.add_argument("folder", type=Path)
    stage.add_argument("name")
    stage.add_argument("status", type=int)
    stage.add_argument("seconds", type=int)
    gather = commands.add_parser("collect")
    gather.add_argument("folder", type=Path)
    gather.add_argument("output", type=Path)
    gather.add_argument("--dry-run", action="store_true")
    table = commands.add_parser("table")
    table.add_argument("output", type=Path)
    options = parser.parse_args()
    if options.command == "stage":
        line = json.dumps(describe_stage(options.folder, options.name, options.status, options.seconds))
        with (options.folder / "stages.jsonl").open("a") as file:
            file.write(line + "\n")
    elif options.command == "collect":
        options.output.parent.mkdir(parents=True, exist_ok=True)
        report = collect(options.folder, options.dry_run)
        options.output.write_text(json.dumps(report, indent=1) + "\n")
        print(f"written to {options.output}")
        for stage_report in report["stages"]:
            print(f"{stage_report['stage']}: {stage_report['result']} in {stage_report['seconds']} s")
    else:
        print(make_table(json.loads(options.output.read_text())))


if __name__ == "__main__":
    main()
