"""The part `peers` of `benchmarks.inference`: which contestants there are, their cases, and what is written of them."""

import itertools
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torchvision.ops import box_iou

from benchmarks.turns import Contestant, Failed, Process, compete
from querydet.utils.provenance import commit

DINO, DEFORMABLE, OTHER = "DINO R50", "Deformable DETR R50", "another model"
PLAIN, FIRST = "querydet, readable form", "querydet float32"
PACKAGES = {  # by the function that builds a contestant
    "querydet": "torch",
    "onnx_runtime": "onnxruntime",
    "openvino": "openvino",
    "libreyolo": "libreyolo",
    "transformers": "transformers",
    "rf_detr": "rfdetr",
}
SAME_IOU, SAME_SCORE = 0.9, 0.02  # detections that agree
LEAST_AGREEMENT = 0.95  # of float32 on the same weights; proposals that score alike may swap ranks
FOLDER = Path("output/benchmarks")


@dataclass(frozen=True)
class Case:
    """What all contestants of a round get: images of a size, a batch and a number of threads."""

    height: int
    width: int
    batch: int
    threads: int


def contestants() -> tuple[Contestant, ...]:
    """Return all contestants; those of a model follow ours, which they are compared with."""

    def make(name: str, function: str, shown: str, dtype: str, **arguments: str) -> Contestant:
        about = {"model": shown, "dtype": dtype, "version": version(PACKAGES[function])}
        return Contestant(name, f"benchmarks.peers:{function}", arguments, about)

    return (
        make(PLAIN, "querydet", DINO, "float32", model=DINO, form="plain"),
        make(FIRST, "querydet", DINO, "float32", model=DINO, form="float32"),
        make("querydet bfloat16", "querydet", DINO, "bfloat16", model=DINO, form="bfloat16"),
        make("querydet int8", "querydet", DINO, "int8", model=DINO, form="int8"),
        make("ONNX Runtime float32", "onnx_runtime", DINO, "float32"),
        make("OpenVINO float32", "openvino", DINO, "float32", precision="f32"),
        make("OpenVINO bfloat16", "openvino", DINO, "bfloat16", precision="bf16"),
        make("OpenVINO int8", "openvino", DINO, "int8", precision="int8"),
        make("libreyolo float32", "libreyolo", DINO, "float32"),
        make("querydet float32, Deformable DETR", "querydet", DEFORMABLE, "float32", model=DEFORMABLE, form="float32"),
        make("transformers float32, Deformable DETR", "transformers", DEFORMABLE, "float32"),
        make("RF-DETR Nano float32", "rf_detr", OTHER, "float32", size="Nano"),
        make("RF-DETR Large float32", "rf_detr", OTHER, "float32", size="Large"),
    )


def cases(options: Namespace) -> Iterator[Case]:
    """Return the cases of the command line."""
    for size, batch, threads in itertools.product(options.sizes, options.batches, options.thread_counts):
        height, width = map(int, size.split("x"))
        yield Case(height, width, batch, threads)


def compare(options: Namespace) -> list[dict[str, Any]]:
    """Time all contestants in all cases.

    Args:
        options: `sizes`, `batches`, `thread_counts`, `dtypes` (None: all), `peers` (parts of names; empty: all),
            `repeats` and `folder`.
    """
    found = chosen(options.peers, options.dtypes)
    remove_old(options.folder, str(commit()))
    return [row for case in cases(options) for row in compare_case(found, case, options.folder, options.repeats)]


def chosen(parts: Sequence[str], dtypes: Sequence[str] | None) -> list[Contestant]:
    """Return the contestants whose names have one of the parts (none: all) and that compute in one of the types."""
    return [
        each
        for each in contestants()
        if (not parts or any(part.lower() in each.name.lower() for part in parts))
        and (not dtypes or each.about["dtype"] in dtypes)
    ]


def compare_case(found: Sequence[Contestant], case: Case, folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Time contestants in one case; print and return its rows."""
    prepare(found, case, folder)
    given = {**vars(case), "folder": str(folder.resolve())}
    ready = [replace(each, arguments={**given, **each.arguments}) for each in found]
    load = os.getloadavg()[0]
    rows = compete(ready, repeats, case.threads, agreements)
    about = {
        "size": f"{case.height}x{case.width}", "batch": case.batch, "threads": case.threads,
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
    }  # fmt: skip
    rows = [{**about, **row} for row in rows]
    print(f"\n{describe_case(rows[0])}\n\n{make_table(rows)}\n", flush=True)
    return rows


def remove_old(folder: Path, current: str) -> None:
    """Remove graphs that another commit wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "commit.txt"
    if not note.exists() or note.read_text() != current:
        for path in folder.glob("dino_*"):
            path.unlink()
        note.write_text(current)


def prepare(found: Sequence[Contestant], case: Case, folder: Path) -> None:
    """Write what contestants read; one that misses a file says so itself."""
    size = {"height": case.height, "width": case.width}
    steps: list[tuple[str, dict[str, Any]]] = [
        ("write_images", {**size, "batch": batch}) for batch in sorted({1, case.batch})
    ]
    functions = {each.function.partition(":")[2] for each in found}
    if "libreyolo" in functions:
        steps.append(("write_weights", {}))
    if functions & {"onnx_runtime", "openvino"}:
        steps.append(("write_graph", size))
    if any(each.name == "OpenVINO int8" for each in found):
        steps.append(("write_8_bit_graph", size))
    for function, arguments in steps:
        step = Contestant(
            function, f"benchmarks.peers_files:{function}", {"folder": str(folder.resolve()), **arguments}
        )
        print(f"{function} {arguments or ''}", flush=True)
        try:
            process = Process(step, os.cpu_count() or 1)
            try:
                process.ask("run")
            finally:
                process.end()
        except Failed as error:
            print(f"{function} failed: {error}", flush=True)


def version(package: str) -> str:
    """Return name and version of a package; empty where it is not installed."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return ""


def agreements(results: Mapping[str, Any]) -> dict[str, float]:
    """Return which part of the detections of the readable form each contestant in float32 has too.

    In fewer bits, scores of random weights change ranks, and with them the queries: that says nothing.

    Args:
        results: lists of boxes (x0, y0, x1, y1, in parts of the image), scores and labels by name; None: of other
            weights.
    """
    expected = results.get(PLAIN)
    if expected is None:
        return {}
    same = {each.name for each in contestants() if (each.about["model"], each.about["dtype"]) == (DINO, "float32")}
    compared = {name: results[name] for name in same - {PLAIN} if results.get(name)}
    return {name: round(share_found(expected, found), 3) for name, found in compared.items()}


def share_found(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> float:
    """Return the part of expected detections that have a counterpart: label, box and score agree."""
    if not expected["scores"]:
        return 1.0
    if not actual["scores"]:
        return 0.0
    labels, scores, boxes = (
        [torch.tensor(each[key]) for each in (expected, actual)] for key in ("labels", "scores", "boxes")
    )
    same = labels[0][:, None] == labels[1]
    same &= (scores[0][:, None] - scores[1]).abs() <= SAME_SCORE
    same &= box_iou(boxes[0], boxes[1]) >= SAME_IOU
    return float(same.any(1).float().mean())


def disagreements(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe the contestants in float32 whose detections are others."""
    return [
        f"{row['name']} at {row['size']} finds {row['agreement']:.0%} of the detections"
        for row in rows
        if row.get("agreement", 1.0) < LEAST_AGREEMENT
    ]


def describe_case(row: Mapping[str, Any]) -> str:
    """Name a case in words."""
    threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    images = f"{row['batch']} image{'s' if row['batch'] > 1 else ''}"
    return (
        f"**{row['size']}, {images}, {threads}** (load average {row['load_average'][0]} to {row['load_average'][1]}):"
    )


def by_case(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group rows by their case, in order."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["size"], row["batch"], row["threads"]), []).append(row)
    return list(groups.values())


def make_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of a case as a Markdown table, ratios to ours in float32."""
    first = next((row.get("milliseconds") for row in rows if row["name"] == FIRST), None)
    cells = []
    for row in rows:
        if "absent" in row:
            cells.append([row["name"], row["model"], f"absent: {row['absent']}", "", "", ""])
            continue
        seconds = row["milliseconds"] / row["batch"] / 1e3
        times = f"{row['milliseconds'] / first:.2f}" if first else ""
        agreement = f"{row['agreement']:.0%}" if "agreement" in row else ""
        cells.append([row["name"], row["model"], f"{seconds:.2f}", times, row["peak_mib"], agreement])
    headers = ["", "model", "seconds an image", "times querydet float32", "peak memory (MiB)", "same detections"]
    return tabulate(cells, headers, tablefmt="pipe", disable_numparse=True)


def make_tables(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table for every case."""
    tables = [f"{describe_case(group[0])}\n\n{make_table(group)}" for group in by_case(rows)]
    versions = sorted({row["version"] for row in rows if row.get("version") and "absent" not in row})
    return "\n\n".join([*tables, f"With {', '.join(versions)}."])
