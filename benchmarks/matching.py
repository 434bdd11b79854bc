"""Times the matching of a training step against the loop that the DETR family's released code runs.

    python -m benchmarks.matching                              # all cases, both numbers of threads
    python -m benchmarks.matching --cases dino --objects 7 30 --threads 1 --repeats 3
    python -m benchmarks.matching --table                      # the written results as Markdown tables

Two jobs, of the prediction sets of a step at 900 queries and 80 classes:

* `solver`: from costs to pairs, one problem for each set and image. Ours is `querydet::linear_sum_assignment`;
  the peer is `scipy.optimize.linear_sum_assignment` in a loop over matrices of queries by objects.
* `matcher`: from predictions and objects to pairs. Ours computes all sets and assigns once; the peer goes set by set:
  costs of all queries of the batch with the objects of all images, a copy to the host, scipy on the blocks of the
  diagonal.

Both find the same pairs, which is checked. `random` costs are of an untrained model; in `trained` ones half of the
queries crowd around objects, with a raised logit. Contestants take turns; medians are reported, of the CPU time of the
thread with one thread, of the wall time with more. The machine may be busy: compare ratios.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import scipy.optimize
import torch
from torch import Tensor

from benchmarks import contest
from querydet.modeling.assigners import HungarianAssigner
from querydet.ops.linear_sum_assignment import linear_sum_assignment
from querydet.ops.native import MISSING_EXTENSION, cpu_instruction_set
from querydet.structures import Assignment, ObjectCount, PredictionSet, QueryGroup, Stage, Targets

ROOT = Path(__file__).resolve().parents[1]
QUERIES, CLASSES, BATCH = 900, 80, 2
# Prediction sets: DINO's six layers and its encoder; the same for each of Group DETR's eleven groups.
CASES = {"dino": 7, "group_dino": 77}
OURS, LOOP = "querydet", "scipy loop"
Pairs = list[tuple[list[int], list[int]]]


def make_problem(sets: int, objects: int, trained: bool) -> tuple[list[PredictionSet], Targets]:
    """Make prediction sets for a batch of images with a given number of objects each."""
    generator = torch.Generator().manual_seed(objects)

    def boxes(*shape: int) -> Tensor:
        centre, size = torch.rand(*shape, 2, generator=generator), torch.rand(*shape, 2, generator=generator)
        return torch.cat([centre, 0.05 + 0.3 * size], dim=-1)

    gt_boxes, labels = boxes(BATCH, objects), torch.randint(CLASSES, (BATCH, objects), generator=generator)
    predictions = []
    for layer in range(sets):
        logits, predicted = torch.randn(BATCH, QUERIES, CLASSES, generator=generator) - 4, boxes(BATCH, QUERIES)
        if trained:
            for image in range(BATCH):
                own = torch.randint(objects, (QUERIES // 2,), generator=generator)
                noise = 0.02 * torch.randn(len(own), 4, generator=generator)
                predicted[image, : len(own)] = (gt_boxes[image, own] + noise).clamp(0.01, 1)
                logits[image, torch.arange(len(own)), labels[image, own]] += 4
        group = QueryGroup("primary", 0, QUERIES)
        predictions.append(PredictionSet(Stage.DECODER, layer, False, group, logits, predicted, predicted))
    names = tuple(f"image{image}" for image in range(BATCH))
    return predictions, Targets(tuple(labels), tuple(gt_boxes), names, (0,) * BATCH, ObjectCount((objects,) * BATCH))


def match_by_released_code(sets: list[PredictionSet], targets: Targets) -> Pairs:
    """Match set by set."""
    return as_pairs(contest.match_by_loop(sets, targets))


def match_by_ours(sets: list[PredictionSet], targets: Targets) -> Pairs:
    """Match all sets at once."""
    assigner = HungarianAssigner()
    return as_pairs(assigner.assign(assigner.compute(sets, targets), sets, targets))


def as_pairs(assigned: list[tuple[Assignment, ...]]) -> Pairs:
    """Return the queries and objects of each problem."""
    return [(pairs.queries.tolist(), pairs.objects.tolist()) for images in assigned for pairs in images]


def jobs(sets: list[PredictionSet], targets: Targets) -> dict[str, dict[str, Callable[[], Pairs]]]:
    """Return the functions to time, by job and contestant."""
    (flat,) = HungarianAssigner().compute(sets, targets)
    sizes = [(count, QUERIES) for count in targets.counts for _ in sets]
    costs = [
        block.view(size) for block, size in zip(flat.split([rows * QUERIES for rows, _ in sizes]), sizes, strict=True)
    ]
    by_query = [cost.T.contiguous() for cost in costs]

    def solve_by_ours() -> Pairs:
        rows = [list(range(count)) for count, _ in sizes]
        return list(zip([queries.tolist() for queries in linear_sum_assignment(flat, sizes)], rows, strict=True))

    def solve_by_loop() -> Pairs:
        pairs = [scipy.optimize.linear_sum_assignment(cost) for cost in by_query]
        return [(queries.tolist(), objects.tolist()) for queries, objects in pairs]

    return {
        "solver": {OURS: solve_by_ours, LOOP: solve_by_loop},
        "matcher": {
            OURS: lambda: match_by_ours(sets, targets),
            LOOP: lambda: match_by_released_code(sets, targets),
        },
    }


def alternate(functions: dict[str, Callable[[], Pairs]], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each contestant; all run once to compare their results, and then in turns."""
    results = [sorted_pairs(function()) for function in functions.values()]
    assert results[0] == results[1], "the contestants found different pairs"
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            seconds[name].append(clock() - start)
    return {name: round(statistics.median(times) * 1e3, 3) for name, times in seconds.items()}


def sorted_pairs(found: Pairs) -> list[list[tuple[int, int]]]:
    """Sort the pairs of each problem."""
    return [sorted(zip(queries, objects, strict=True)) for queries, objects in found]


def make_table(run: dict[str, Any]) -> str:
    """Return the results as a Markdown table, one line for each case."""
    lines = [
        "| job | sets | costs | threads | objects | ours ms | scipy loop ms | times faster |",
        "|" + " --- |" * 8,
    ]
    for row in run["results"]:
        cells = [row["job"], row["case"], row["costs"], row["threads"], row["objects"]]
        cells += [f"{row['milliseconds'][OURS]:.2f}", f"{row['milliseconds'][LOOP]:.1f}", f"{row['times_faster']:.1f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the chosen cases and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 7, 30, 60, 100], help="of each image")
    parser.add_argument("--costs", nargs="+", choices=("random", "trained"), default=["random", "trained"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "matching.json")
    parser.add_argument("--table", action="store_true", help="only print the written results as a Markdown table")
    options = parser.parse_args()
    if options.table:
        print(make_table(json.loads(options.output.read_text())))
        return
    if MISSING_EXTENSION:
        raise SystemExit(f"nothing to compare: {MISSING_EXTENSION}")
    results: list[dict[str, Any]] = []
    for case in options.cases:
        for costs in options.costs:
            for objects in options.objects:
                sets, targets = make_problem(CASES[case], objects, costs == "trained")
                for threads in options.threads:
                    torch.set_num_threads(threads)
                    for job, functions in jobs(sets, targets).items():
                        milliseconds = alternate(functions, options.repeats)
                        row = {"job": job, "case": case, "costs": costs, "threads": threads, "objects": objects}
                        ratio = round(milliseconds[LOOP] / milliseconds[OURS], 2)
                        results.append({**row, "milliseconds": milliseconds, "times_faster": ratio})
                        print(json.dumps(results[-1]), flush=True)
                options.output.parent.mkdir(parents=True, exist_ok=True)
                run = {**contest.origin_of_module(), "instruction_set": cpu_instruction_set(), "results": results}
                options.output.write_text(json.dumps(run, indent=1) + "\n")


if __name__ == "__main__":
    main()
