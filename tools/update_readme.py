"""Write the tables of the documents from their data; ``--check`` only compares.

The data are ``benchmarks/results/`` (measured here) and ``projects/*/tables.yaml`` (published by others).
"""

import argparse
import functools
import importlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from querydet import model_zoo
from querydet.cli.published_tables import absent_rows, cite_precisions, describe_purpose, markdown_table, recipe_table
from querydet.model_zoo.published import MASKS, describe_precisions, publications, recipes, weights_precision

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "MODEL_ZOO.md",
    ROOT / "docs" / "performance.md",
    ROOT / "docs" / "dense.md",
    ROOT / "docs" / "masks.md",
    *sorted((ROOT / "projects").glob("*/README.md")),
)
RESULTS = ROOT / "benchmarks" / "results"
INFERENCE = "python -m benchmarks.inference"
PEERS = "![Seconds per image of querydet and its peers](images/peers.png)\n\n"


def load(name: str) -> dict[str, Any]:
    """Read a data file of results.

    Raises:
        FileNotFoundError: there is no such file yet.
    """
    return json.loads((RESULTS / f"{name}.json").read_text())


def run_summary(name: str) -> str:
    """Return AP over the evaluations of a recorded run, with its command and machine."""
    record = load(name)
    evaluations = record["evaluations"]
    columns = {"AP50": "AP50", "AP": "AP", "mask_AP50": "mask AP50", "mask_AP": "mask AP"}
    shown = {key: title for key, title in columns.items() if all(key in each for each in evaluations.values())}
    rows = [[int(step), *(each[key] for key in shown)] for step, each in evaluations.items()]
    table = tabulate(rows, ["iteration", *shown.values()], tablefmt="github", floatfmt=".1f")
    return (
        f"Seen on {record['machine']}, {record['minutes']:.0f} minutes of training with batches of "
        f"{record['batch_size']} (`{record['command']}`, {record['date']}, "
        f"commit {str(record['commit'])[:9]}):\n\n{table}"
    )


def model_table() -> str:
    """Return a table of every recipe: published AP, parameters and multiply-adds, beside the published ones."""
    record = load("model_facts")
    counted = {model["config"]: count_cells(model) for model in record["models"]}
    rows = []
    for name, path in recipes().items():
        counts = counted.get(path, ["", "", "", ""])
        cited = [cite_precisions(name), describe_precisions(name, MASKS)]
        rows.append([f"[{name}]({path})", describe_purpose(name), *cited, trained(name), *counts])
    headers = [
        "recipe",
        "stands for",
        "published AP",
        "published mask AP",
        "trained by us",
        "parameters",
        "published",
        "G multiply-adds, 800x1066 to 800x1333",
        "paper",
    ]
    about = f"Counted at 91 classes, as published (commit {str(record['commit'])[:9]}, {record['date']})"
    return f"{about}:\n\n{markdown_table(headers, rows)}"


def count_cells(model: dict[str, Any]) -> list[str]:
    """Return parameters and multiply-adds of a recipe, each with the published number behind it."""
    low, high = (size["multiply_adds"] / 1e9 for size in model["flops"].values())
    return [
        f"{model['parameters']:,}",
        published_parameters(model["published"]),
        f"{low:.0f} to {high:.0f}",
        str(model["published"].get("paper", {}).get("gflops", "")),
    ]


def published_parameters(published: dict[str, Any]) -> str:
    """Return parameters of the official code; else its trainable ones, else the millions that a paper prints."""
    official, millions = published.get("official_code", {}), published.get("paper", {}).get("parameters_millions")
    if official.get("parameters"):
        classes = official.get("num_classes")
        return f"{official['parameters']:,}" + (f" with {classes} classes" if classes else "")
    if official.get("trainable"):
        return f"{official['trainable']:,} trainable"
    return f"{millions} M" if millions else ""


def zoo_table() -> str:
    """Return a table of the published models of ``querydet.model_zoo`` and the origin of their weights."""
    rows = []
    for name in model_zoo.names():
        entry = model_zoo.get_entry(name)
        where = f"[file]({entry.url})" if entry.url else f"[page]({entry.page}), by hand"
        checksum = f"`{entry.sha256[:12]}`" if entry.sha256 else "not published"
        rows.append([name, f"[{entry.recipe}]({entry.config})", weights_precision(name), entry.layout, where, checksum])
    headers = ["name", "config", "published AP", "layout", "weights", "sha256"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def trained(recipe: str) -> str:
    """Return our AP of a recipe from ``benchmarks/results/trained/``, or "no"."""
    path = RESULTS / "trained" / f"{recipe}.json"
    if not path.exists():
        return "no"
    return f"{max(each['AP'] for each in json.loads(path.read_text())['evaluations'].values()):.1f}"


def convergence_table(name: str, root: str = "") -> str:
    """Return a table of AP and cost of the methods of a comparison in miniature.

    Args:
        name: of the comparison.
        root: the way from the document to the project's root.
    """
    record = load(name)
    measures = [
        name for name in ("mask_AP", "AP") if all(f"final_{name}_mean" in of for of in record["methods"].values())
    ]
    ranked = sorted(record["methods"].items(), key=lambda item: -item[1][f"final_{measures[0]}_mean"])
    rows = [
        [
            f"[{method}]({root}{found['config']})",
            *(
                f"{found[f'final_{name}_mean']:.1f}"
                + (f" ± {found[f'final_{name}_std']:.1f}" if len(found["seeds"]) > 1 else "")
                for name in measures
            ),
            len(found["seeds"]),
            *(
                "" if found[name] is None else f"{found[name]:.2f}"
                for name in ("seconds_per_iteration_to_baseline", "peak_memory_mib_to_baseline")
            ),
        ]
        for method, found in ranked
    ]
    titles = [name.replace("_", " ") for name in measures]
    headers = ["method", *titles, "seeds", "time of an iteration", "peak memory"]
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    last = max(int(step) for found in record["methods"].values() for step in found["curves"]["AP"])
    commits = sorted({commit[:9] for found in record["methods"].values() for commit in found["commits"]})
    return (
        f"After {last} iterations (mean and standard deviation over the seeds), time and memory as multiples of "
        f"{record['baseline']}'s; {record['machine']}, `make convergence`, {record['date']}, trained at commits "
        f"{', '.join(commits)}:\n\n{table}"
    )


def benchmark_tables(name: str) -> str:
    """Return the tables of a benchmark, with its command and machine."""
    benchmark = importlib.import_module(f"benchmarks.{name}")
    return benchmark.contest.make_tables(load(name), benchmark.make_table)


def benchmark_part(name: str, part: str, command: str, picture: str = "") -> str:
    """Return the table of one part of a benchmark with its picture, or how to measure it.

    Args:
        name: of the data file.
        part: of the file.
        command: that measures it.
        picture: Markdown that shows it.
    """
    if part not in (record := load(name) if (RESULTS / f"{name}.json").exists() else {}):
        return f"Not measured yet: `{command}`."
    benchmark = importlib.import_module("benchmarks.inference")
    return f"{picture}{describe_run(record[part])}:\n\n{benchmark.make_table(part, record[part]['rows'])}"


def describe_run(record: Mapping[str, Any]) -> str:
    """Return command, date, commit and machine of a record."""
    return f"`{record['command']}`, {record['date']}, commit {str(record['commit'])[:9]}, {record['machine']}"


def growth_table() -> str:
    """Return the exponents of `benchmarks.growth`, or how to measure them."""
    if not (RESULTS / "growth.json").exists():
        return "Not measured yet: `python -m benchmarks.growth`."
    picture = "![Cost against queries, objects, classes, image size, batch and groups](images/growth.png)"
    return f"{picture}\n\n{importlib.import_module('benchmarks.growth').describe(load('growth'))}"


def recorded_table(name: str) -> str:
    """Return the tables of a benchmark without parts, with its command and machine, or how to measure it."""
    if not (RESULTS / f"{name}.json").exists():
        return f"Not measured yet: `python -m benchmarks.{name}`."
    record = load(name)
    benchmark = importlib.import_module(f"benchmarks.{name}")
    return (
        f"`{record['command']}`, {record['date']}, commit {str(record['commit'])[:9]}, {record['machine']}:\n\n"
        f"{benchmark.make_table(record)}"
    )


def project_sections() -> dict[str, Callable[[], str]]:
    """Return the sections of the projects' documents: recipes, and the rows of the paper that have none."""
    projects = [publication.project for publication in publications()]
    return {
        **{f"recipes_{project}": functools.partial(recipe_table, project, trained) for project in projects},
        **{f"absent_{project}": functools.partial(absent_rows, project) for project in projects},
    }


SECTIONS: dict[str, Callable[[], str]] = {
    **project_sections(),
    "absent": absent_rows,
    "quickstart": lambda: run_summary("quickstart"),
    "quickstart_masks": lambda: run_summary("quickstart_masks"),
    "bccd": lambda: run_summary("bccd"),
    "models": model_table,
    "zoo": zoo_table,
    "convergence": lambda: convergence_table("convergence"),
    "convergence_dense": lambda: convergence_table("convergence_dense", "../"),
    "convergence_masks": lambda: convergence_table("convergence_masks", "../"),
    "train_step": lambda: benchmark_tables("train_step"),
    "data": lambda: recorded_table("data"),
    "startup": lambda: recorded_table("startup"),
    "throughput": lambda: recorded_table("throughput"),
    "peers": lambda: benchmark_part("inference", "peers", f"{INFERENCE} --parts peers", PEERS),
    "peers_sizes": lambda: benchmark_part("inference_sizes", "peers", f"{INFERENCE} --parts peers --sizes ..."),
    "profile": lambda: benchmark_part("inference", "profile", f"{INFERENCE} --parts profile"),
    "breakdown": lambda: benchmark_part("inference", "breakdown", f"{INFERENCE} --parts breakdown"),
    "growth": growth_table,
}


def updated(text: str) -> str:
    """Return a text with every section between ``<!-- name -->`` and ``<!-- /name -->`` replaced.

    Raises:
        ValueError: for a section that nothing makes.
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] not in SECTIONS:
            raise ValueError(f"nothing makes the section <!-- {match[1]} -->; known are {', '.join(SECTIONS)}")
        return f"<!-- {match[1]} -->\n{SECTIONS[match[1]]()}\n<!-- /{match[1]} -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", replace, text, flags=re.DOTALL)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    sys.path.insert(0, str(ROOT))  # where the benchmarks are
    parser.add_argument("--check", action="store_true", help="fail when a document differs from the data files")
    arguments = parser.parse_args(argv)
    for path in DOCUMENTS:
        before = path.read_text()
        after = updated(before)
        if arguments.check and after != before:
            sys.exit(f"{path.name} differs from its data: run python tools/update_readme.py")
        path.write_text(after)


if __name__ == "__main__":
    main()
