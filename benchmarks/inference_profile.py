"""The part `profile` of `benchmarks.inference`: which operators inference in float32 spends its time in."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

from benchmarks import peers
from querydet.analysis.measure import noise_inputs
from querydet.fusion import fuse
from querydet.utils.allocator import keep_freed_memory

KINDS: Mapping[str, tuple[str, ...]] = {  # parts of operators' names; the first kind that has one counts
    "sampling": ("querydet::",),
    "attention": ("attention", "flash"),
    "convolutions": ("conv",),
    "products": ("linear", "mm", "matmul", "einsum", "dot"),
}
USEFUL = tuple(KINDS)
LISTED = 12  # operators of the rest that are written
SKIPPED = ("ProfilerStep", "profiler")


def kind_of(operator: str) -> str:
    """Return the kind of an operator by its name, or `rest`."""
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), "rest")


def profile_inference(options: Namespace) -> list[dict[str, Any]]:
    """Profile the fused DINO in float32, the first size of the command line, batch 1."""
    keep_freed_memory()
    height, width = map(int, options.sizes[0].split("x"))
    detector = fuse(peers.make_detector("DINO R50"))
    inputs = noise_inputs(1, height, width, peers.CLASSES)
    with torch.inference_mode():
        for _ in range(2):
            detector(inputs)
        with profile(activities=[ProfilerActivity.CPU]) as recorded:
            for _ in range(options.repeats):
                detector(inputs)
    times: dict[str, tuple[float, int]] = {
        event.key: (event.self_cpu_time_total, event.count)
        for event in recorded.key_averages()
        if not event.key.startswith(SKIPPED)
    }
    row = {"size": options.sizes[0], "repeats": options.repeats, **summarise(times, options.repeats)}
    print(make_table([row]), flush=True)
    return [row]


def summarise(times: Mapping[str, tuple[float, int]], repeats: int) -> dict[str, Any]:
    """Return the share of each kind, in percent, and the operators of the rest that take longest.

    Args:
        times: microseconds and calls by operator.
        repeats: how many runs they are of.
    """
    total = sum(microseconds for microseconds, _ in times.values())
    shares = dict.fromkeys((*KINDS, "rest"), 0.0)
    for operator, (microseconds, _) in times.items():
        shares[kind_of(operator)] += 100 * microseconds / total
    rest = [(name, *values) for name, values in times.items() if kind_of(name) == "rest"]
    longest = sorted(rest, key=lambda each: -each[1])[:LISTED]
    return {
        "milliseconds": round(total / repeats / 1e3, 1),
        "percent": {kind: round(share, 1) for kind, share in shares.items()},
        "useful": round(sum(shares[kind] for kind in USEFUL), 1),
        "rest": {
            name: {"percent": round(100 * microseconds / total, 2), "calls": calls // repeats}
            for name, microseconds, calls in longest
        },
    }


def make_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return shares and the longest operators of the rest as Markdown."""
    texts = []
    for row in rows:
        cells = [[f"{row['percent'][kind]:.1f} %" for kind in row["percent"]] + [f"{row['useful']:.1f} %"]]
        table = tabulate(cells, [*row["percent"], "all but the rest"], tablefmt="pipe", disable_numparse=True)
        rest = [f"`{name}` {found['percent']:.1f} % ({found['calls']} calls)" for name, found in row["rest"].items()]
        texts.append(f"{table}\n\nThe rest is {', '.join(rest)}.")
    return "\n\n".join(texts)
