"""Times deformable attention on a GPU against every peer that is installed, and checks each against float64.

    python -m benchmarks.operator_gpu --output operator_gpu_part.json     # needs a GPU; gpu_operator.sh runs it
    python -m benchmarks.operator_gpu --dry-run --output anywhere.json    # tiny, on the CPU: tests only that it runs
    python -m benchmarks.operator_gpu --tiny                              # a few small calls, for compute-sanitizer

Forward and backward are timed apart, by events around each call, and reported as medians. Calls take turns through
several input sets, together larger than the cache of the GPU. Where a call is so short that its launch costs more than
its work (decoders), a CUDA graph of calls is timed, where the implementation can be captured. Memory that the allocator
hands out is full of NaN before each check. Errors are relative to the largest entry, on inputs drawn for the check.

Exit status: 0; 1 when ours is wrong somewhere; 3 without a GPU.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.operator_peers import Inputs, Peer, Shapes, find_peers
from querydet.ops.native import MISSING_EXTENSION
from querydet.ops.reference import ms_deform_attn_reference, ms_deform_attn_reference_backward
from querydet.utils.provenance import provenance

LEVELS = ((100, 167), (50, 84), (25, 42), (13, 21))  # DINO's strides 8 to 64 of an image of 800 x 1333
FIVE = ((200, 334), *LEVELS)
SMALL = ((6, 9), (3, 5))
HEADS, CHANNELS, POINTS = 8, 32, 4
# Levels, images and queries (None: all pixels).
CASES: dict[str, tuple[Shapes, int, int | None]] = {
    "encoder_800": (LEVELS, 1, None),
    "encoder_800_two_images": (LEVELS, 2, None),
    "encoder_5_scale": (FIVE, 1, None),
    "decoder_900": (LEVELS, 1, 900),
    "decoder_1100": (LEVELS, 1, 1100),
    "decoder_9900": (LEVELS, 1, 9900),
}
TINY: dict[str, tuple[Shapes, int, int | None]] = {"encoder_tiny": (SMALL, 1, None), "decoder_tiny": (SMALL, 2, 7)}
TOLERANCES = {torch.float32: 5e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}
SETS = 4


def make_inputs(case: tuple[Shapes, int, int | None], dtype: torch.dtype, device: str, seed: int) -> Inputs:
    """Make inputs whose encoder queries sample around their own pixel, and decoder queries anywhere."""
    shapes, batch, queries = case
    generator = torch.Generator(device).manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, device=device)

    pixels = sum(height * width for height, width in shapes)
    if queries is None:
        centers = [
            torch.cartesian_prod((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width).flip(-1)
            for height, width in shapes
        ]
        references = torch.cat(centers).to(device)[None, :, None].repeat(batch, 1, len(shapes), 1)
    else:
        references = torch.rand(batch, queries, 1, 2, generator=generator, device=device)
        references = references.repeat(1, 1, len(shapes), 1)
    count = references.shape[1]
    # Deformable DETR's initial offsets: each head samples in a direction of its own, each point one pixel further
    angles = torch.arange(HEADS, device=device) * (2 * torch.pi / HEADS)
    ring = torch.stack([angles.cos(), angles.sin()], -1)[:, None, None]
    ring = ring / ring.abs().amax(-1, keepdim=True) * torch.arange(1, POINTS + 1, device=device)[:, None]
    offsets = ring + draw(batch, count, HEADS, len(shapes), POINTS, 2)
    logits = draw(batch, count, HEADS, len(shapes), POINTS)
    sizes = torch.tensor([(width, height) for height, width in shapes], device=device)
    locations = references[:, :, None, :, None] + offsets / sizes[:, None]
    weights = logits.flatten(3).softmax(-1).view(logits.shape)
    value = draw(batch, pixels, HEADS, CHANNELS).to(dtype)
    gradient = draw(batch, count, HEADS * CHANNELS).to(dtype)
    return Inputs(value, locations, weights, references, offsets, logits, gradient)


def poison(device: str) -> None:
    """Fill memory that the allocator will hand out again with NaN."""
    if device == "cuda":
        kept = [torch.full((2**exponent,), float("nan"), device=device) for exponent in range(8, 28)]
        del kept


def errors_of(peer: Peer, case: tuple[Shapes, int, int | None], dtype: torch.dtype, device: str) -> dict[str, float]:
    """Return the largest errors of output and gradients relative to the largest entry, against float64, on new inputs.

    Gradients of locations are left to the tests: they jump where a location is a pixel's centre.
    """
    shapes = case[0]
    inputs = make_inputs(case, dtype, device, seed=time.time_ns() % 2**31)
    exact = [tensor.double() for tensor in inputs]
    expected = [ms_deform_attn_reference(exact[0], shapes, exact[1], exact[2])]
    grads = ms_deform_attn_reference_backward(exact[0], shapes, exact[1], exact[2], exact[6])
    expected += [grads[0], grads[2]]
    value, weights = inputs.value.clone().requires_grad_(), inputs.weights.clone().requires_grad_()
    poison(device)
    output = peer.call(inputs._replace(value=value, weights=weights), shapes)
    output.backward(inputs.gradient)
    assert value.grad is not None
    computed = [output.detach(), value.grad]
    if weights.grad is not None:  # not with logits
        computed.append(weights.grad)
    expected = expected[: len(computed)]
    names = ("output", "grad_value", "grad_weights")[: len(computed)]
    return {
        name: ((a.double() - b).abs().max() / b.abs().max()).item()  # NaN stays NaN
        for name, a, b in zip(names, computed, expected, strict=True)
    }


def time_calls(calls: list[Callable[[], Any]], device: str, repeats: int) -> float:
    """Return the median microseconds of a call."""
    for call in calls:
        call()
    times = []
    for index in range(repeats):
        call = calls[index % len(calls)]
        if device == "cpu":
            started = time.perf_counter()
            call()
            times.append((time.perf_counter() - started) * 1e6)
            continue
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) * 1e3)
    return statistics.median(times)


def time_graph(calls: list[Callable[[], Any]], repeats: int) -> float | None:
    """Return the median microseconds of a call in a CUDA graph of all; None where the calls cannot be captured."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            for call in calls:
                call()
    except Exception as error:  # whatever a peer's launcher raises while a stream is captured
        print(f"cannot be captured: {error}", file=sys.stderr)
        torch.cuda.synchronize()
        return None
    return time_calls([graph.replay], "cuda", repeats) / len(calls)


def measure(peer: Peer, case: tuple[Shapes, int, int | None], dtype: torch.dtype, device: str, repeats: int) -> Any:
    """Measure errors and times of one implementation."""
    result: dict[str, Any] = {"errors": errors_of(peer, case, dtype, device)}
    shapes = case[0]
    sets = [make_inputs(case, dtype, device, seed) for seed in range(SETS)]
    forwards = [lambda inputs=inputs: peer.call(inputs, shapes) for inputs in sets]
    with torch.no_grad():
        result["forward_us"] = time_calls(forwards, device, repeats)
        if device == "cuda" and case[2] is not None:
            result["forward_graph_us"] = time_graph(forwards, repeats)
    steps = []
    for inputs in sets:
        tensors = [tensor.requires_grad_() for tensor in inputs[:6]]
        output = peer.call(inputs, shapes)
        leaves = [tensor for index, tensor in enumerate(tensors) if index != 3]  # references are constants
        steps.append(lambda o=output, w=leaves, g=inputs.gradient: backward(o, w, g))
    result["backward_us"] = time_calls(steps, device, repeats)
    if device == "cuda" and case[2] is not None:
        result["both_graph_us"] = time_graph([lambda i=inputs: both(peer, i, shapes) for inputs in sets], repeats)
    if peer.version == "this commit":
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        result["deterministic_backward_us"] = time_calls(steps, device, repeats)
        torch.use_deterministic_algorithms(before)
    return result


def backward(output: Tensor, leaves: list[Tensor], gradient: Tensor) -> None:
    """Compute all gradients, and keep the graph for further calls."""
    torch.autograd.grad(output, leaves, gradient, retain_graph=True, allow_unused=True)


def both(peer: Peer, inputs: Inputs, shapes: Shapes) -> None:
    """Run forward and backward."""
    leaves = [tensor for index, tensor in enumerate(inputs[:6]) if index != 3]
    torch.autograd.grad(peer.call(inputs, shapes), leaves, inputs.gradient, allow_unused=True)


def run_cases(cases: dict[str, Any], device: str, repeats: int, seconds: float) -> tuple[list[Any], dict[str, str]]:
    """Measure every case, type and implementation until time is up; rows that are left out say so."""
    peers, missing = find_peers()
    deadline = time.monotonic() + seconds
    rows = []
    for name, case in cases.items():
        for dtype in (torch.float32, torch.bfloat16):
            for peer_name, peer in peers.items():
                row: dict[str, Any] = {"case": name, "dtype": str(dtype).removeprefix("torch."), "peer": peer_name}
                if time.monotonic() > deadline:
                    row["failed"] = f"left out: {seconds:.0f} seconds were over"
                else:
                    try:
                        row.update(measure(peer, case, dtype, device, repeats))
                    except Exception as error:  # a peer may raise anything; the others go on
                        row["failed"] = f"{type(error).__name__}: {error}"
                if "errors" in row:
                    row["right"] = all(error <= TOLERANCES[dtype] for error in row["errors"].values())
                rows.append({**row, "version": peer.version})
                print(json.dumps(rows[-1]), flush=True)
                gc.collect()
    return rows, missing


def describe_gpu() -> dict[str, Any]:
    """Return name, driver and toolkit of the GPU."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        smi = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        smi = f"unknown: {error}"
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "nvidia_smi": smi,
        "cuda": torch.version.cuda,
    }


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=170, help="begin nothing more after this time")
    parser.add_argument("--output", type=Path, help="the JSON file to write")
    parser.add_argument("--dry-run", action="store_true", help="tiny, on the CPU")
    parser.add_argument("--tiny", action="store_true", help="a few small calls of ours on the GPU, no timing")
    options = parser.parse_args()
    device = "cpu" if options.dry_run else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        print("no GPU: nothing was measured. --dry-run runs the same code on the CPU with tiny inputs.")
        return 3
    if options.tiny:
        return check_tiny(device)
    cases = TINY if options.dry_run else {name: CASES[name] for name in options.cases}
    rows, missing = run_cases(cases, device, 3 if options.dry_run else options.repeats, options.seconds)
    report = {
        **provenance(sys.argv),
        "dry_run": options.dry_run,
        "gpu": describe_gpu() if device == "cuda" else None,
        "extension": MISSING_EXTENSION or "loaded",
        "missing_peers": missing,
        "results": rows,
    }
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    wrong = [row for row in rows if row["peer"].startswith("ours") and not row.get("right", "failed" not in row)]
    return 1 if wrong else 0


def check_tiny(device: str) -> int:
    """Run both operators and both backwards on small inputs, in the few seconds that a sanitizer can watch."""
    peers, _ = find_peers()
    wrong = 0
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        for case in TINY.values():
            for dtype, tolerance in TOLERANCES.items():
                for name in ("ours", "ours_fused"):
                    errors = errors_of(peers[name], case, dtype, device)
                    wrong += not all(error <= tolerance for error in errors.values())
    print(f"{wrong} wrong results")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
