"""Draws deformable attention beside the limits of the machine, from the files that the benchmarks wrote.

    python -m benchmarks.roofline        # benchmarks/results/operator_cpu.json -> docs/images/operator_roofline.png

A roofline (Williams, Waterman and Patterson, 2009): the rate that a job can reach is the lower of the arithmetic peak
and the memory bandwidth times the job's arithmetic per byte. Counted are the necessary operations: each tensor is read
or written once, and every corner of every point takes 2 operations per channel forward and 4.4 backward. Reading a row
of values many times, from caches, is not counted, although the operator spends most of its time on it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.operator_cpu import CASES, CHANNELS, HEADS, OURS, POINTS

ROOT = Path(__file__).resolve().parents[1]
_CORNERS = 4
_OPERATIONS = {"forward": 2.0, "backward": 4.4}  # for one corner and channel
_BYTES = {"float32": 4, "bfloat16": 2}


def count(case: str, dtype: str, way: str) -> tuple[float, float]:
    """Count the operations of the operator for one image, and the bytes that must be moved."""
    shapes, queries = CASES[case]
    pixels = sum(height * width for height, width in shapes)
    queries = queries or pixels
    points = queries * HEADS * len(shapes) * POINTS
    value = pixels * HEADS * CHANNELS * _BYTES[dtype]
    output = queries * HEADS * CHANNELS * _BYTES[dtype]
    coordinates = points * 3 * 4  # locations and weights, float32
    moved = value + output + coordinates
    if way == "backward":
        moved += value + coordinates  # and their gradients
    return points * _CORNERS * CHANNELS * _OPERATIONS[way], moved


def draw(run: dict[str, Any], threads: int, axes: Axes) -> None:
    """Draw one panel: the roof for a number of threads, and a point for each case, dtype and direction."""
    ceiling = next(ceiling for ceiling in run["ceilings"] if ceiling["threads"] == threads)
    bandwidth, peak = ceiling["copy_gb_per_s"], ceiling["float32_gflop_per_s"]
    intensity = np.geomspace(0.5, 100, 50)
    axes.plot(intensity, np.minimum(intensity * bandwidth, peak), color="black")
    rows = [row for row in run["results"] if row["job"] == "operator" and row["threads"] == threads]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    for row in rows:
        for way, marker in (("forward", "o"), ("backward", "s")):
            operations, moved = count(row["case"], row["dtype"], way)
            rate = operations / row["milliseconds"][way][OURS] / 1e6
            color = f"C{cases.index(row['case'])}"
            filled = color if row["dtype"] == "float32" else "none"
            label = row["case"] if way == "forward" and row["dtype"] == "float32" else None
            axes.plot(operations / moved, rate, marker, color=color, markerfacecolor=filled, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations per byte that must be moved")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(
        f"{threads} thread{'s' * (threads > 1)}: copy {bandwidth:.0f} GB/s, matrix product {peak:.0f} GFLOP/s"
    )
    axes.grid(alpha=0.3, which="both")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "operator_cpu.json")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "operator_roofline.png")
    options = parser.parse_args()
    run = json.loads(options.results.read_text())
    threads = [ceiling["threads"] for ceiling in run["ceilings"]]
    figure = Figure(figsize=(6.5 * len(threads), 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(threads), squeeze=False)[0]
    for num_threads, axes in zip(threads, panels, strict=True):
        draw(run, num_threads, axes)
    legend_title = "circle: forward, square: backward; filled: float32, hollow: bfloat16"
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=8, title=legend_title, ncols=6, loc="outside lower center")
    figure.suptitle(f"deformable attention on {run['machine']}, {run['instruction_set']}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
