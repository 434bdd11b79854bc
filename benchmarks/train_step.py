"""Times whole training steps (forward, losses, backward, AdamW) of full-size R50 models, and their memory.

    python -m benchmarks.train_step                          # all parts, on the CPU
    python -m benchmarks.train_step --parts peer --size 640 --repeats 5
    python -m benchmarks.train_step --device cuda --images 2 --amp
    python -m benchmarks.train_step --table                  # the written results as Markdown

Parts, in each of which the contestants take turns; medians:

* `peer`: two-stage Deformable DETR with box refinement, ours and Hugging Face's (`pip install transformers`): same
  backbone, frozen in the same places, sizes, images and objects. Each has a process of its own, and on a CPU the
  allocator that a training with it has: ours keeps freed memory (`querydet.utils.allocator`). A further row says what
  the peer would gain by that.
* `bfloat16`: DINO in float32 and in bfloat16 (`train.amp.enabled=True`).
* `operators`: ours, with other implementations of deformable attention in its place (`torch-ms-deform-attn`).
* `methods`: every method beside the base (as MS-DETR, arXiv 2401.03989, table 3; Group DETR, arXiv 2207.13085,
  figure 7).
* `released`: DINO, ours and with the means of released code: the sampling operator of `torch-ms-deform-attn` (or
  `grid_sample`, where it is not installed) and matching set by set.
* `compile`: the base as it is, and with encoder and decoder compiled (`train.compile.parts`).
* `breakdown`: the milliseconds of each part of the methods' steps.

How the step grows with queries, objects, pixels and images: `benchmarks.growth`.

Peak memory on the CPU is the growth of the resident memory in the first step of a process: activations, gradients,
optimizer state and unused memory of the allocator. The machine may be busy: compare ratios.
"""

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from detectron2.config import instantiate
from tabulate import tabulate
from torch import nn

from benchmarks import contest
from querydet.analysis.measure import noise_inputs
from querydet.analysis.timing import TRAINING, time_training
from querydet.config import load_config
from querydet.engine.switches import compile_parts
from querydet.utils.allocator import keep_freed_memory_on

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "train_step.json"
TWO_STAGE = "projects/deformable_detr/configs/deformable_detr_r50_two_stage_50ep.py"
PLUS_PLUS = "projects/deformable_detr/configs/deformable_detr_pp_r50_12ep.py"
DINO = "projects/dino/configs/dino_r50_4scale_12ep.py"
GROUP = "projects/group_detr/configs/group_deformable_detr_pp_r50_12ep.py"
PEER = "transformers"


@dataclass(frozen=True)
class Case:
    """A training step.

    Args:
        config: path of the model's config, or the peer's name.
        overrides: overrides of the config.
        operator: name of the operator that samples, see `benchmarks.contest.operators`.
        images: number of images of the batch.
        size: height and width of the images.
        objects: number of objects of an image.
        classes: number of classes.
        device: device that the step runs on.
        amp: whether to run in bfloat16.
        compiled: parts of the model to compile.
        loop: whether to match set by set, as `benchmarks.contest.match_by_loop` does.
        keep_memory: whether the process keeps freed memory, as our training does on a CPU.
    """

    config: str
    overrides: tuple[str, ...] = ()
    operator: str = "querydet, fused"
    images: int = 1
    size: int = 640
    objects: int = 7
    classes: int = contest.CLASSES
    device: str = "cpu"
    amp: bool = False
    compiled: tuple[str, ...] = ()
    loop: bool = False
    keep_memory: bool = True


def parts(base: Case) -> dict[str, dict[str, Case]]:
    """Return the cases of each part; the first is the one that the others are compared with."""

    def groups(count: int, queries: int = 300) -> Case:
        options = (f"model.selection.num_groups={count}", f"model.selection.selection.num_queries={queries}")
        return replace(base, config=GROUP, overrides=options)

    field = list(contest.operators())[-1]
    peer = replace(base, config=PEER, keep_memory=False)
    dino = replace(base, config=DINO)
    return {
        "peer": {
            "querydet": replace(base, config=TWO_STAGE),
            PEER: peer,
            f"{PEER}, freed memory kept": replace(peer, keep_memory=True),
        },
        "bfloat16": {"float32": replace(dino, amp=False), "bfloat16": replace(dino, amp=True)},
        "operators": {name: replace(base, config=TWO_STAGE, operator=name) for name in contest.operators()},
        "methods": {
            "Deformable DETR++, one group": replace(base, config=PLUS_PLUS),
            "MS-DETR": replace(base, config="projects/ms_detr/configs/ms_detr_pp_r50_12ep.py"),
            "Group DETR, 6 groups (300 + 1500 queries)": groups(6),
            "H-DETR, 300 + 1500 queries": replace(base, config="projects/h_detr/configs/h_detr_r50_12ep.py"),
            "Group DETR, 11 groups": groups(11),
            "Group DETR, 13 groups": groups(13),
            "DETA": replace(base, config="projects/deta/configs/deta_r50_12ep.py"),
            "DINO": dino,
        },
        "released": {
            "querydet": dino,
            f"{field}, matching set by set": replace(dino, operator=field, loop=True),
        },
        "compile": {
            "as it is": replace(base, config=PLUS_PLUS),
            "encoder and decoder compiled": replace(base, config=PLUS_PLUS, compiled=("encoder", "decoder")),
        },
    }


def make_step(case: Case) -> Callable[[], None]:
    """Return the function to time, with a model of random weights; where the case says so, the process keeps memory."""
    if case.keep_memory:
        keep_freed_memory_on(case.device)
    images = make_images(case)
    losses: Callable[[], torch.Tensor]
    if case.config == PEER:
        torch.manual_seed(0)
        peer = contest.make_peer(case.device).train()
        model, losses = peer, lambda: peer(**contest.peer_inputs(images, case.device, training=True)).loss
    else:
        ours = make_detector(case)
        model, losses = ours, lambda: torch.stack(list(ours(images).values())).sum()
    optimizer = make_optimizer(model)
    operator = contest.operators()[case.operator]

    def step() -> None:
        optimizer.zero_grad()
        with contest.sampling_by(operator), contest.matching_by_loop(case.loop):
            with torch.autocast(case.device, torch.bfloat16, enabled=case.amp):
                loss = losses()
            loss.backward()
        optimizer.step()

    return step


def make_images(case: Case) -> list[dict[str, Any]]:
    """Make the batch, on the host."""
    return noise_inputs(case.images, case.size, case.size, case.classes, case.objects)


def make_detector(case: Case) -> nn.Module:
    """Make our model, in training mode."""
    torch.manual_seed(0)
    cfg = load_config(case.config, (*case.overrides, f"train.device={case.device}", "train.init_checkpoint=''"))
    cfg.model.num_classes = case.classes
    model = instantiate(cfg.model).to(case.device).train()
    compile_parts(model, list(case.compiled), "inductor", dynamic=None)
    return model


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer, equal for all contestants."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-5, weight_decay=1e-4, fused=True)


def break_down(cases: dict[str, Case], repeats: int) -> list[dict[str, Any]]:
    """Measure the milliseconds of each part of our steps."""
    rows = []
    for name, case in cases.items():
        model = make_detector(case)
        with torch.autocast(case.device, torch.bfloat16, enabled=case.amp):
            times = time_training(model, make_images(case), make_optimizer(model), repeats=repeats, warmup=1)
        rows.append({"name": name, "milliseconds": {part: round(ms, 1) for part, ms in times.milliseconds.items()}})
    return rows


def memory_of(case: Case) -> float:
    """Return the MiB of the first step, see `benchmarks.contest.memory_taken`; to be called in a new process."""
    return contest.memory_taken(make_step(case), case.device)


def measure(cases: dict[str, Case], repeats: int, memory: bool, clock: str = "wall") -> list[dict[str, Any]]:
    """Measure one row for each case, compared with the first."""
    first = next(iter(cases.values()))
    makers = {name: partial(make_step, case) for name, case in cases.items()}
    if len({case.keep_memory for case in cases.values()}) > 1:
        seconds = contest.take_turns_apart(makers, repeats, first.device, clock)
    else:
        seconds = contest.take_turns({name: make() for name, make in makers.items()}, repeats, first.device, clock)
    mib: dict[str, float] = {}
    if memory:
        for name, case in cases.items():  # a process for each, one after the other
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                mib[name] = process.submit(memory_of, case).result()
    rows = []
    for name, case in cases.items():
        row: dict[str, Any] = {"name": name, "case": asdict(case), "seconds": round(seconds[name], 4)}
        row["times"] = round(seconds[name] / next(iter(seconds.values())), 3)
        if memory:
            row["memory"] = (round(mib[name]), round(mib[name] / next(iter(mib.values())), 2))  # MiB, times
        rows.append(row)
    return rows


def make_table(part: str, rows: list[dict[str, Any]]) -> str:
    """Return the rows of a part as a Markdown table."""
    if part == "breakdown":
        timed = [name for name in TRAINING if any(name in row["milliseconds"] for row in rows)]
        names = [*timed, "other", "total"]
        cells = [(row["name"], *(row["milliseconds"].get(name) for name in names)) for row in rows]
        return tabulate(cells, headers=["milliseconds", *names], tablefmt="pipe", floatfmt=".0f")
    headers = [part, "seconds of a step", "times", "peak memory (MiB)", "times"]
    cells = [
        (row["name"], f"{row['seconds']:.2f}", f"{row['times']:.2f}", *row.get("memory", ("", ""))) for row in rows
    ]
    return tabulate(cells, headers=headers, tablefmt="pipe", floatfmt=".2f")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*parts(Case("")), "breakdown"]
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--images", type=int, default=1, help="of a batch")
    parser.add_argument("--size", type=int, default=640, help="height and width of the images")
    parser.add_argument("--objects", type=int, default=7, help="of each image; COCO has 7 on average")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--amp", action="store_true", help="bfloat16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--clock", choices=contest.CLOCKS, default="wall", help="cpu, with one thread: of a busy machine"
    )
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the written results as Markdown")
    options = parser.parse_args()
    if options.table:
        print(contest.make_tables(json.loads(options.output.read_text()), make_table))
        return
    base = Case("", images=options.images, size=options.size, objects=options.objects)
    cases = parts(replace(base, device=options.device, amp=options.amp))

    def run(part: str) -> list[dict[str, Any]]:
        print(f"{part}: {len(cases.get(part, cases['methods']))} cases, {options.repeats + 1} rounds", flush=True)
        if part == "breakdown":
            rows = break_down(cases["methods"], options.repeats)
        else:
            rows = measure(cases[part], options.repeats, options.memory, options.clock)
        print(make_table(part, rows), flush=True)
        return rows

    contest.run_parts({part: partial(run, part) for part in names}, "peer", options)


if __name__ == "__main__":
    main()
