"""Writes the README's tables from the data files in ``benchmarks/results/``; ``--check`` only compares."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
PUBLISHED = ROOT / "benchmarks" / "published"


def load(name: str) -> dict[str, Any]:
    """A data file of results.

    Raises:
        FileNotFoundError: it was not made yet.
    """
    return json.loads((RESULTS / f"{name}.json").read_text())


def run_summary(name: str) -> str:
    """AP over the evaluations of a recorded run, with its command and machine."""
    record = load(name)
    rows = [[int(step), each["AP50"], each["AP"]] for step, each in record["evaluations"].items()]
    table = tabulate(rows, ["iteration", "AP50", "AP"], tablefmt="github", floatfmt=".1f")
    return (
        f"Seen on {record['machine']}, {record['minutes']:.0f} minutes of training with batches of "
        f"{record['batch_size']} (`{record['command']}`, {record['date']}, "
        f"commit {str(record['commit'])[:9]}):\n\n{table}"
    )


def model_table() -> str:
    """Parameters and multiply-adds of the recipes beside the official ones and the papers'."""
    record = load("model_facts")
    precision = json.loads((PUBLISHED / "average_precision.json").read_text())["recipes"]
    rows = []
    for model in record["models"]:
        name = Path(model["config"]).stem
        official = model["published"].get("official_code", {})
        paper = model["published"].get("paper", {})
        rows.append(
            [
                f"[{name}]({model['config']})",
                precision.get(name, ""),
                "no",
                f"{model['parameters']:,}",
                f"{official['parameters']:,}" if official.get("parameters") else "",
                "{:.0f} to {:.0f}".format(*(each["multiply_adds"] / 1e9 for each in model["flops"].values())),
                paper.get("gflops", ""),
            ]
        )
    headers = [
        "recipe",
        "published AP",
        "trained by us",
        "parameters",
        "official code",
        "G multiply-adds, 800x1066 to 800x1333",
        "paper",
    ]
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    return f"Counted at 91 classes, as published (commit {str(record['commit'])[:9]}, {record['date']}):\n\n{table}"


SECTIONS: dict[str, Callable[[], str]] = {
    "quickstart": lambda: run_summary("quickstart"),
    "bccd": lambda: run_summary("bccd"),
    "models": model_table,
}


def updated(text: str) -> str:
    """The README with every section between ``<!-- name -->`` and ``<!-- /name -->`` made anew."""
    for name, make in SECTIONS.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no section between <!-- {name} --> and <!-- /{name} -->")
        body = make()
        text = pattern.sub(lambda match, body=body: f"{match[1]}{body}\n{match[2]}", text)
    return text


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the README differs from the data files")
    arguments = parser.parse_args(argv)
    before = README.read_text()
    after = updated(before)
    if arguments.check and after != before:
        sys.exit("README.md differs from benchmarks/results: run python tools/update_readme.py")
    README.write_text(after)


if __name__ == "__main__":
    main()
