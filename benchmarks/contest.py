"""Contestants that take turns, their inputs, and the peer's model, for benchmarks of whole steps."""

import contextlib
import json
import shlex
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import scipy.optimize
import torch
from torch import Tensor, nn

from querydet.analysis.activation_memory import peak_memory, reset_peak_memory
from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.boxes import cxcywh_to_xyxy, generalized_iou
from querydet.modeling.layers import deformable_attention
from querydet.ops import multi_scale_deformable_attention
from querydet.ops.reference import locate_samples, ms_deform_attn_reference, normalize_logits
from querydet.structures import Assignment, PredictionSet, Targets
from querydet.utils.provenance import provenance

CLASSES = 80
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}  # the second: of all threads, also on a busy machine


def take_turns(
    contestants: Mapping[str, Callable[[], Any]], repeats: int, device: str = "cpu", clock: str = "wall"
) -> dict[str, float]:
    """Return the median seconds of each contestant, by one of `CLOCKS`. The first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats + 1):
        for name, run in contestants.items():
            seconds[name].append(_time(run, device, CLOCKS[clock]))
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def take_turns_apart(
    makers: Mapping[str, Callable[[], Callable[[], Any]]], repeats: int, device: str = "cpu", clock: str = "wall"
) -> dict[str, float]:
    """Return the median seconds of contestants in processes of their own.

    What one does to its process, as its allocator and its threads, the others do not profit from. The first round warms
    up and does not count.

    Args:
        makers: make what to run, by name, in a new process; to be pickled.
        repeats: number of rounds that count.
        device: that they run on.
        clock: one of `CLOCKS`.
    """
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                ProcessPoolExecutor(1, get_context("spawn"), _prepare, (make, torch.get_num_threads()))
            )
            for name, make in makers.items()
        }
        for _ in range(repeats + 1):
            for name, process in processes.items():
                seconds[name].append(process.submit(_time_prepared, device, clock).result())
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


_prepared: list[Callable[[], Any]] = []  # what this process runs


def _prepare(make: Callable[[], Callable[[], Any]], threads: int) -> None:
    torch.set_num_threads(threads)
    _prepared.append(make())


def _time_prepared(device: str, clock: str) -> float:
    return _time(_prepared[0], device, CLOCKS[clock])


def _time(run: Callable[[], Any], device: str, clock: Callable[[], float]) -> float:
    _wait(device)
    start = clock()
    run()
    _wait(device)
    return clock() - start


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def memory_taken(run: Callable[[], Any], device: str = "cpu") -> float:
    """Return the MiB by which a call raises the peak memory; on the CPU, measure one call in each process."""
    where = torch.device(device)
    reset_peak_memory(where)
    before = peak_memory(where)
    run()
    return (peak_memory(where) - before) / 2**20


def origin_of_module() -> dict[str, Any]:
    """Return the provenance of a benchmark that is run by `python -m`."""
    command = ["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
    return {**provenance(sys.argv), "command": shlex.join(command)}


def run_parts(
    parts: Mapping[str, Callable[[], list[dict[str, Any]]]], needs_peer: str | None, options: Namespace
) -> None:
    """Run the parts that `options` names and write their rows; rows of other parts stay in the file.

    Args:
        parts: functions that measure the parts, by name.
        needs_peer: the part that is left out where transformers is not installed.
        options: `parts`, `threads` and `output`.
    """
    torch.set_num_threads(options.threads)
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    for part in options.parts:
        if part == needs_peer and transformers_version() is None:
            print(f"{part}: left out, needs: pip install transformers")
            continue
        origin = {**origin_of_module(), "threads": options.threads, "transformers": transformers_version()}
        found[part] = {**origin, "rows": parts[part]()}
        options.output.write_text(json.dumps(found, indent=1) + "\n")


def make_tables(found: Mapping[str, Any], make_table: Callable[[str, list[dict[str, Any]]], str]) -> str:
    """Return all parts of a results file as Markdown, each with its provenance."""
    return "\n\n".join(f"{describe(record)}\n\n{make_table(part, record['rows'])}" for part, record in found.items())


def describe(record: Mapping[str, Any]) -> str:
    """Return the provenance of a part in one line."""
    return (
        f"`{record['command']}`, {record['date']}, commit {str(record['commit'])[:9]}, {record['machine']}, "
        f"{record['threads']} threads, transformers {record['transformers']}:"
    )


def transformers_version() -> str | None:
    """Return the version of the installed package; None without it."""
    try:
        import transformers
    except ImportError:
        return None
    return transformers.__version__


def make_peer(device: str) -> nn.Module:
    """Make Hugging Face's two-stage Deformable DETR with box refinement on an R50, of random weights.

    It has its default attention, which is scaled_dot_product_attention where it supports that. It samples through
    grid_sample; the kernels that it would download for a GPU are left out. Like ours, its backbone is trained but for
    the stem and the first stage; its default is to freeze the backbone.
    """
    from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

    config = DeformableDetrConfig(
        backbone_config=ResNetConfig(out_features=["stage2", "stage3", "stage4"]),
        num_labels=CLASSES,
        num_queries=300,
        two_stage=True,
        two_stage_num_proposals=300,
        with_box_refine=True,
        auxiliary_loss=True,
    )
    model = DeformableDetrForObjectDetection(config)
    for name, parameter in model.named_parameters():
        frozen = "backbone" in name and ("embedder" in name or "stages.0" in name)
        parameter.requires_grad_(not frozen)
    return model.to(device)


def peer_inputs(images: list[dict[str, Any]], device: str, training: bool = False) -> dict[str, Any]:
    """Convert images to the inputs of the peer: normalised, of one size, and in training with its kind of labels."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)))
    pixels = torch.stack([(image["image"] - mean) / std for image in images]).to(device)
    inputs: dict[str, Any] = {"pixel_values": pixels, "pixel_mask": torch.ones_like(pixels[:, 0], dtype=torch.int64)}
    if training:
        labels = []
        for image in images:
            height, width = image["image"].shape[-2:]
            boxes = image["instances"].gt_boxes.tensor / torch.tensor([width, height, width, height])
            size = boxes[:, 2:] - boxes[:, :2]
            boxes = torch.cat([boxes[:, :2] + size / 2, size], 1).to(device)
            labels.append({"class_labels": image["instances"].gt_classes.to(device), "boxes": boxes})
        inputs["labels"] = labels
    return inputs


Operator = Callable[[Tensor, Any, Tensor, Tensor], Tensor]


def operators() -> dict[str, Operator | None]:
    """Return the implementations of the sampling step that our model can run with, by name; None: ours."""
    found: dict[str, Operator | None] = {
        "querydet, fused": None,
        "querydet, separate": multi_scale_deformable_attention,
        "grid_sample": ms_deform_attn_reference,
    }
    try:
        from torch_ms_deform_attn import ms_deform_attn
    except ImportError:
        return found

    def run(value: Tensor, shapes: Any, locations: Tensor, weights: Tensor) -> Tensor:
        sizes = torch.tensor(shapes, device=value.device)
        starts = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
        return ms_deform_attn(value.float(), sizes, starts, locations, weights).to(value.dtype)

    return {**found, "torch_ms_deform_attn": run}


@contextlib.contextmanager
def sampling_by(operator: Operator | None) -> Iterator[None]:
    """Let our models sample through another implementation within this context."""
    if operator is None:
        yield
        return
    sample = operator

    def attend(value: Tensor, shapes: Any, references: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        return sample(value, shapes, locate_samples(references, offsets, shapes), normalize_logits(logits))

    with mock.patch.object(deformable_attention, "fused_deformable_attention", attend):
        yield


def match_by_loop(sets: Sequence[PredictionSet], targets: Targets) -> list[tuple[Assignment, ...]]:
    """Match set by set, with costs between all images and a copy to the host each time, as the released codes do."""
    assigned = []
    labels, gt_boxes = torch.cat(targets.labels), torch.cat(targets.boxes)
    for prediction_set in sets:
        p, boxes = prediction_set.logits.flatten(0, 1).sigmoid(), prediction_set.boxes.flatten(0, 1)
        negative = 0.75 * p**2 * -(1 - p + 1e-8).log()
        positive = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log()
        cost = 2 * (positive[:, labels] - negative[:, labels]) + 5 * torch.cdist(boxes, gt_boxes, p=1)
        cost = cost - 2 * generalized_iou(cxcywh_to_xyxy(boxes)[:, None], cxcywh_to_xyxy(gt_boxes)[None])
        blocks = cost.view(*prediction_set.boxes.shape[:2], -1).cpu().split(targets.counts, dim=-1)
        pairs = [scipy.optimize.linear_sum_assignment(block[image]) for image, block in enumerate(blocks)]
        assigned.append(tuple(Assignment(*map(torch.from_numpy, pair)) for pair in pairs))
    return assigned


@contextlib.contextmanager
def matching_by_loop(enabled: bool) -> Iterator[None]:
    """Let one-to-one matching run `match_by_loop` within this context, where that is enabled."""
    if not enabled:
        yield
        return
    with (
        mock.patch.object(HungarianAssigner, "compute", return_value=()),
        mock.patch.object(HungarianAssigner, "assign", lambda self, computed, *case: match_by_loop(*case)),
    ):
        yield
