"""Times deformable attention on the CPU against its peers, and writes the results.

    python benchmarks/operator_cpu.py                                     # all cases: most of an hour
    python benchmarks/operator_cpu.py --cases encoder_512 --threads 1 --repeats 3
    QUERYDET_CPU=avx2 python benchmarks/operator_cpu.py --output avx2.json   # as on a processor without AVX-512
    python benchmarks/operator_cpu.py --table                             # the written results, for ops/README.md

(A script called operator.py would hide Python's module of that name from every script beside it.)

Two jobs are timed, forward and backward apart, the backward through autograd:

* `operator`: from locations and weights to the sum.
* `step`: from references, offsets and logits to the sum, which the fused operator does at once, and all others with
  PyTorch's arithmetic and softmax around their operator.

The peers are `grid_sample`, the formulation that the DETR family runs where it has no kernel (for bfloat16 after a
cast to float32), and `torch-ms-deform-attn` where it is installed (the original kernels, ported to the CPU; for
bfloat16 with the casts that its function does). All get the same tensors, take turns, and are reported as medians: with
one thread of the CPU time of that thread, with more of the wall time (the machine may be shared).
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from querydet.ops import fused_deformable_attention, multi_scale_deformable_attention
from querydet.ops.native import MISSING_EXTENSION, cpu_instruction_set
from querydet.ops.reference import locate_samples, ms_deform_attn_reference, normalize_logits
from querydet.utils.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
Shapes = tuple[tuple[int, int], ...]
# DINO's four levels (strides 8 to 64) of an image of 512x512 and of 800x1333, and five (strides 4 to 64).
SMALL: Shapes = ((64, 64), (32, 32), (16, 16), (8, 8))
LARGE: Shapes = ((100, 167), (50, 84), (25, 42), (13, 21))
FIVE: Shapes = ((200, 334), *LARGE)
# Levels, and the number of decoder queries; the encoder's queries are the pixels of all levels.
CASES: dict[str, tuple[Shapes, int | None]] = {
    "encoder_512": (SMALL, None),
    "encoder_800": (LARGE, None),
    "encoder_800_5scale": (FIVE, None),
    "decoder_900": (LARGE, 900),
    "decoder_1100": (LARGE, 1100),
    "decoder_9900": (LARGE, 9900),
}
HEADS, CHANNELS, POINTS = 8, 32, 4  # DINO
OURS = "querydet"

Function = Callable[[Sequence[Tensor]], Tensor]


def make_inputs(case: str, dtype: torch.dtype) -> tuple[Shapes, list[Tensor]]:
    """Make value, references, offsets and logits of one image.

    The encoder samples some pixels around each pixel; the decoder's references are random boxes.
    """
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
        reference = torch.cat(centers)[None, :, None].repeat(1, 1, len(shapes), 1)
        # Where training begins: 1 to P pixels away, in one direction for each head; and noise of a pixel.
        angles = torch.arange(HEADS) * (2 * torch.pi / HEADS)
        ring = torch.stack([angles.cos(), angles.sin()], -1)[:, None, None] * torch.arange(1, POINTS + 1)[:, None]
        offsets = ring + torch.randn(*size, 2, generator=generator)
    else:
        boxes = torch.cat([torch.rand(2, queries, 2, generator=generator)[0], torch.rand(queries, 2) * 0.4 + 0.05], -1)
        reference = boxes[None, :, None].repeat(1, 1, len(shapes), 1)
        offsets = 2 * torch.randn(*size, 2, generator=generator)
    logits = torch.randn(size, generator=generator)
    return shapes, [value, reference, offsets, logits]


def operators(shapes: Shapes) -> dict[str, Callable[..., Tensor]]:
    """Return for each contestant a function of (value, locations, weights)."""
    found: dict[str, Callable[..., Tensor]] = {
        OURS: lambda value, locations, weights: multi_scale_deformable_attention(value, shapes, locations, weights),
        "grid_sample": lambda value, locations, weights: ms_deform_attn_reference(value, shapes, locations, weights),
    }
    peer = _find_peer(shapes)
    return {**found, "torch_ms_deform_attn": peer} if peer else found


def _find_peer(shapes: Shapes) -> Callable[..., Tensor] | None:
    try:
        from torch_ms_deform_attn import ms_deform_attn
    except ImportError:
        return None
    sizes = torch.tensor(shapes)
    starts = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])

    def run(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return ms_deform_attn(value.float(), sizes, starts, locations, weights).to(value.dtype)

    return run


def jobs(case: str, dtype: torch.dtype, names: Sequence[str]) -> dict[str, tuple[list[Tensor], dict[str, Function]]]:
    """Return the inputs of each job, and the function of each contestant."""
    shapes, inputs = make_inputs(case, dtype)
    value, reference, offsets, logits = inputs
    located = [value, locate_samples(reference, offsets, shapes), normalize_logits(logits)]

    def bare(operator: Callable[..., Tensor]) -> Function:
        return lambda tensors: operator(*tensors)

    def with_steps(operator: Callable[..., Tensor]) -> Function:
        return lambda tensors: operator(
            tensors[0], locate_samples(tensors[1], tensors[2], shapes), normalize_logits(tensors[3])
        )

    contestants = {name: operator for name, operator in operators(shapes).items() if name in names}
    steps = {f"{name}_unfused" if name == OURS else name: with_steps(op) for name, op in contestants.items()}
    steps = {OURS: lambda tensors: fused_deformable_attention(tensors[0], shapes, *tensors[1:]), **steps}
    return {
        "operator": (located, {name: bare(operator) for name, operator in contestants.items()}),
        "step": (inputs, steps),
    }


def alternate(inputs: Sequence[Tensor], functions: dict[str, Function], repeats: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of each function's forward and backward; all run once before, then in turns."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, dict[str, list[float]]] = {
        way: {name: [] for name in functions} for way in ("forward", "backward")
    }
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    gradient = torch.randn(1, inputs[1].shape[1], HEADS * CHANNELS).to(inputs[0].dtype)
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = clock()
            output = function(leaves)
            middle = clock()
            torch.autograd.grad(output, leaves, gradient)
            end = clock()
            seconds["forward"][name].append(middle - start)
            seconds["backward"][name].append(end - middle)
    return {
        way: {name: round(statistics.median(times[1:]) * 1e3, 2) for name, times in by_name.items()}
        for way, by_name in seconds.items()
    }


def measure(case: str, dtype: torch.dtype, threads: int, repeats: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Measure one row for each job."""
    torch.set_num_threads(threads)
    rows = []
    for job, (inputs, functions) in jobs(case, dtype, names).items():
        milliseconds = alternate(inputs, functions, repeats)
        ratios = {
            way: {name: round(times[name] / times[OURS], 2) for name in times if name != OURS}
            for way, times in milliseconds.items()
        }
        row = {"job": job, "case": case, "dtype": str(dtype).removeprefix("torch."), "threads": threads}
        rows.append({**row, "milliseconds": milliseconds, "times_faster": ratios})
    return rows


def measure_ceilings(threads: int) -> dict[str, float]:
    """Measure the peaks of this machine, for `roofline`: GB/s of a large copy, GFLOP/s of a matrix product."""
    torch.set_num_threads(threads)
    source, matrix = torch.rand(1 << 25), torch.rand(1024, 1024)
    target = torch.empty_like(source)
    clock = time.thread_time if threads == 1 else time.perf_counter

    def best(function: Callable[[], Any]) -> float:
        times = []
        for _ in range(9):
            start = clock()
            function()
            times.append(clock() - start)
        return min(times)

    return {
        "threads": threads,
        "copy_gb_per_s": round(2 * source.nbytes / best(lambda: target.copy_(source)) / 1e9, 2),
        "float32_gflop_per_s": round(2 * 1024**3 / best(lambda: matrix @ matrix) / 1e9, 1),
    }


def describe_run() -> dict[str, Any]:
    """Return everything that is needed to repeat the numbers."""
    from importlib import metadata

    try:
        peer = metadata.version("torch-ms-deform-attn")
    except metadata.PackageNotFoundError:
        peer = None
    return {
        **provenance(sys.argv),
        "clock": "CPU time of the thread for one thread, wall time for more; medians",
        "instruction_set": cpu_instruction_set(),
        "QUERYDET_CPU": os.environ.get("QUERYDET_CPU"),
        "torch_ms_deform_attn": peer,
    }


def make_table(run: dict[str, Any], job: str) -> str:
    """Return one job's results as a Markdown table: milliseconds of ours, and how many times longer the others take."""
    rows = [row for row in run["results"] if row["job"] == job]
    others = list(dict.fromkeys(name for row in rows for name in row["times_faster"]["forward"]))
    columns = ["case", "dtype", "threads"]
    for way in ("forward", "backward"):
        columns += [f"{way} ms", *(f"vs {name.removeprefix(OURS + '_').replace('_', '-')}" for name in others)]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [row["case"], row["dtype"], str(row["threads"])]
        for way in ("forward", "backward"):
            cells.append(f"{row['milliseconds'][way][OURS]:.1f}")
            ratios = row["times_faster"][way]
            cells += [f"{ratios[name]:.1f}x" if name in ratios else "" for name in others]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the chosen cases and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=7)
    contestants = [OURS, "torch_ms_deform_attn", "grid_sample"]
    parser.add_argument("--contestants", nargs="+", choices=contestants, default=contestants)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "operator_cpu.json")
    parser.add_argument("--table", action="store_true", help="only print the written results as Markdown tables")
    options = parser.parse_args()
    if options.table:
        run = json.loads(options.output.read_text())
        print(make_table(run, "operator"), make_table(run, "step"), sep="\n\n")
        return
    if MISSING_EXTENSION:
        raise SystemExit(f"nothing to compare: {MISSING_EXTENSION}")
    results = []
    ceilings = [measure_ceilings(threads) for threads in options.threads]
    for case in options.cases:
        for dtype in options.dtypes:
            for threads in options.threads:
                rows = measure(case, getattr(torch, dtype), threads, options.repeats, {OURS, *options.contestants})
                results += rows
                print(*(json.dumps(row) for row in rows), sep="\n", flush=True)
                options.output.parent.mkdir(parents=True, exist_ok=True)
                options.output.write_text(
                    json.dumps({**describe_run(), "ceilings": ceilings, "results": results}, indent=1) + "\n"
                )
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
