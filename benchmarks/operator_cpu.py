"""Times the deformable attention operator against its grid_sample formulation on the CPU, and writes what it saw.

    python benchmarks/operator_cpu.py              # DINO's shapes, float32 and bfloat16, 1 and 2 threads
    python benchmarks/operator_cpu.py --cases encoder_512 --repeats 3

(A script called operator.py would hide Python's module of that name from every script beside it.)

The peer is ``ms_deform_attn_reference``, which does what the DETR family runs where it has no kernel: grid_sample per
level, for bfloat16 after a cast to float32. Both sides get the same tensors, take turns, and are reported as medians:
with one thread of the CPU time of the process, with more of the wall time (the machine may be shared).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from querydet.layers.ms_deform_attn import MISSING_EXTENSION
from querydet.layers.ms_deform_attn_reference import ms_deform_attn_reference, ms_deform_attn_reference_backward
from querydet.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
# DINO's four levels (strides 8 to 64) of an image of 512x512 and of 800x1333.
SMALL = ((64, 64), (32, 32), (16, 16), (8, 8))
LARGE = ((100, 167), (50, 84), (25, 42), (13, 21))
# Levels, and the number of decoder queries; the encoder's queries are the pixels of all levels.
CASES = {"encoder_512": (SMALL, None), "encoder_800": (LARGE, None), "decoder_900": (LARGE, 900)}
HEADS, CHANNELS, POINTS = 8, 32, 4  # DINO


def make_inputs(case: str, dtype: torch.dtype) -> tuple[Tensor, tuple[tuple[int, int], ...], Tensor, Tensor]:
    """One image: the encoder samples some pixels around each pixel, the decoder anywhere."""
    shapes, queries = CASES[case]
    generator = torch.Generator().manual_seed(0)
    pixels = sum(height * width for height, width in shapes)
    value = torch.randn(1, pixels, HEADS, CHANNELS, generator=generator).to(dtype)
    size = (1, queries or pixels, HEADS, len(shapes), POINTS)
    if queries is None:
        centers = [
            torch.cartesian_prod((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width).flip(-1)
            for height, width in shapes
        ]
        sizes = torch.tensor([(width, height) for height, width in shapes])[:, None]
        offsets = 2 * torch.randn(*size, 2, generator=generator) / sizes
        locations = torch.cat(centers)[None, :, None, None, None] + offsets
    else:
        locations = torch.rand(*size, 2, generator=generator)
    weights = torch.randn(size, generator=generator).flatten(3).softmax(-1).view(size)
    return value, shapes, locations, weights


def alternate(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median milliseconds of each function; all of them run once before, then in turns."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            seconds[name].append(clock() - start)
    return {name: round(statistics.median(times) * 1e3, 2) for name, times in seconds.items()}


def measure(case: str, dtype: torch.dtype, threads: int, repeats: int) -> dict[str, Any]:
    """Forward and backward of the operator and of its peer."""
    torch.set_num_threads(threads)
    value, shapes, locations, weights = make_inputs(case, dtype)
    flat = [size for shape in shapes for size in shape]
    gradient = torch.randn(1, locations.shape[1], HEADS * CHANNELS).to(dtype)
    mask = [True, True, True]
    operators = torch.ops.querydet
    forward = alternate(
        {
            "operator": lambda: operators.ms_deform_attn(value, flat, locations, weights),
            "grid_sample": lambda: ms_deform_attn_reference(value, shapes, locations, weights),
        },
        repeats,
    )
    backward = alternate(
        {
            "operator": lambda: operators.ms_deform_attn_backward(
                value, flat, locations, weights, gradient, False, mask
            ),
            "grid_sample": lambda: ms_deform_attn_reference_backward(value, shapes, locations, weights, gradient),
        },
        repeats,
    )
    return {
        "case": case,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": threads,
        "forward_ms": forward,
        "backward_ms": backward,
        "forward_speedup": round(forward["grid_sample"] / forward["operator"], 2),
        "backward_speedup": round(backward["grid_sample"] / backward["operator"], 2),
    }


def describe_run() -> dict[str, Any]:
    """What is needed to repeat the numbers."""
    return {
        **provenance(sys.argv),
        "clock": "CPU time of the process for one thread, wall time for more; medians",
    }


def make_table(run: dict[str, Any]) -> str:
    """The results as a Markdown table, for ops/README.md."""
    lines = [
        "| case | dtype | threads | forward | grid_sample | ratio | backward | grid_sample | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in run["results"]:
        cells = [row["case"], row["dtype"], row["threads"]]
        for direction in ("forward", "backward"):
            times = row[f"{direction}_ms"]
            cells += [f"{times['operator']:.1f}", f"{times['grid_sample']:.0f}", f"{row[direction + '_speedup']:.1f}"]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs the chosen cases and writes one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "operator_cpu.json")
    parser.add_argument("--table", action="store_true", help="only print the written results as a Markdown table")
    options = parser.parse_args()
    if options.table:
        print(make_table(json.loads(options.output.read_text())))
        return
    if MISSING_EXTENSION:
        raise SystemExit(f"nothing to compare: {MISSING_EXTENSION}")
    results = []
    with torch.inference_mode():
        for case in options.cases:
            for dtype in options.dtypes:
                for threads in options.threads:
                    results.append(measure(case, getattr(torch, dtype), threads, options.repeats))
                    print(json.dumps(results[-1]), flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({**describe_run(), "results": results}, indent=1) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
