"""Measures how the cost of detection and of a training step grows with each size of the problem.

    python -m benchmarks.growth                       # all sizes, about ten minutes, data and picture
    python -m benchmarks.growth --only queries groups --repeats 1
    python -m benchmarks.growth --picture             # only the picture, from the written data

DINO R50 with 4 scales, and Group DETR for the groups, with random weights, one size changed at a time. One thread; the
cost is the median CPU time of the process, which others on the machine change less than the clock. The exponent of a
curve is the slope of the straight line through its points with both axes logarithmic: 1 is growth in proportion.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from benchmarks import contest, growth_picture
from benchmarks.train_step import DINO, GROUP, Case, make_detector, make_images, make_step
from querydet.fusion import fuse
from querydet.utils.allocator import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "growth.json"
PICTURE = ROOT / "docs" / "images" / "growth.png"
DETECTION, TRAINING = "detection", "training step"
Run = Callable[[], Any]


@dataclass(frozen=True)
class Axis:
    """A size that changes while all others stay.

    Args:
        name: of the size, for people.
        values: that it takes.
        case: returns the case of a value.
        detects: whether detection depends on it.
    """

    name: str
    values: tuple[int, ...]
    case: Callable[[int], Case]
    detects: bool = True


def axes(base: Case) -> dict[str, Axis]:
    """Return what is changed, by the word of the command line."""
    queries = "model.selection.num_queries"
    groups = with_override(replace(base, config=GROUP), "model._target_", "querydet.QueryDetector")  # one group too
    return {
        "queries": Axis("queries", (100, 300, 900, 1800, 3600), lambda n: with_override(base, queries, n)),
        "objects": Axis("objects in an image", (1, 7, 30, 100, 300), lambda n: replace(base, objects=n), detects=False),
        "classes": Axis("classes", (80, 365, 1203), lambda n: replace(base, classes=n)),
        "side": Axis("height and width in pixels", (256, 320, 448, 640), lambda n: replace(base, size=n)),
        "images": Axis("images of a batch", (1, 2, 4), lambda n: replace(base, images=n)),
        "groups": Axis(
            "groups of queries", (1, 2, 4, 6, 8, 11),
            lambda n: with_override(groups, "model.selection.num_groups", n), detects=False,
        ),
    }  # fmt: skip


def with_override(case: Case, key: str, value: int | str) -> Case:
    """Return a case with one more override."""
    return replace(case, overrides=(*case.overrides, f"{key}={value}"))


def make_detection(case: Case) -> Run:
    """Return the function that detects, in the fused form."""
    detector, inputs = fuse(make_detector(case).eval()), make_images(case)

    def run() -> None:
        with torch.inference_mode():
            detector(inputs)

    return run


def measure(run: Run, repeats: int) -> float:
    """Return the median seconds of CPU time of a call, after one that warms up."""
    run()
    return statistics.median(_cpu_seconds(run) for _ in range(repeats))


def _cpu_seconds(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def exponent(values: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the slope of the line through points whose axes are both logarithmic."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


def measure_axis(axis: Axis, repeats: int, known: dict[tuple[str, Case], float]) -> dict[str, Any]:
    """Measure the curves of an axis.

    Args:
        axis: what changes.
        repeats: how often every point is measured.
        known: seconds of the points that were measured before; gets those of this axis.
    """
    makers: dict[str, Callable[[Case], Run]] = {DETECTION: make_detection} if axis.detects else {}
    curves = {}
    for kind, make in {**makers, TRAINING: make_step}.items():
        seconds = []
        for value in axis.values:
            key = (kind, axis.case(value))
            known[key] = known[key] if key in known else round(measure(make(axis.case(value)), repeats), 3)
            seconds.append(known[key])
            print(f"{axis.name} {value}, {kind}: {seconds[-1]:.2f} s", flush=True)
        curves[kind] = {"seconds": seconds, "exponent": round(exponent(axis.values, seconds), 2)}
    return {"name": axis.name, "values": list(axis.values), "curves": curves}


def describe(record: Mapping[str, Any]) -> str:
    """Return first and last cost and the exponent of every curve as Markdown, with their provenance."""
    kinds = (DETECTION, TRAINING)
    cells = [
        [
            axis["name"],
            f"{axis['values'][0]} to {axis['values'][-1]}",
            *(_cell(axis["curves"].get(kind)) for kind in kinds),
        ]
        for axis in record["axes"].values()
    ]
    table = tabulate(cells, ["", "", *kinds], tablefmt="pipe", disable_numparse=True)
    return (
        f"`{record['command']}`, {record['date']}, commit {str(record['commit'])[:9]}, {record['machine']}, one "
        f"thread, {record['side']}x{record['side']} where the side does not change:\n\n{table}"
    )


def _cell(curve: Mapping[str, Any] | None) -> str:
    if curve is None:
        return ""
    return f"{curve['seconds'][0]:.2f} s to {curve['seconds'][-1]:.2f} s, exponent {curve['exponent']:.2f}"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(axes(Case(DINO))), help="default: all")
    parser.add_argument("--side", type=int, default=448, help="height and width of the images; at least 448")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--image", type=Path, default=PICTURE)
    parser.add_argument("--picture", action="store_true", help="only draw the written data")
    options = parser.parse_args()
    if not options.picture:
        run(options)
    growth_picture.draw(json.loads(options.output.read_text()), options.image)


def run(options: argparse.Namespace) -> None:
    """Measure and write; curves of other axes stay in the file."""
    known: dict[tuple[str, Case], float] = {}
    torch.set_num_threads(1)
    keep_freed_memory()
    found = json.loads(options.output.read_text())["axes"] if options.output.exists() else {}
    origin = {**contest.origin_of_module(), "side": options.side, "repeats": options.repeats}
    for name, axis in axes(Case(DINO, size=options.side)).items():
        if name in (options.only or [name]):
            found[name] = measure_axis(axis, options.repeats, known)
            options.output.write_text(json.dumps({**origin, "axes": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
