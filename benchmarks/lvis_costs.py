"""Measures what 1203 classes cost, for one image of 800x1333 pixels on one thread of the CPU.

    python -m benchmarks.lvis_costs                   # every case in a process of its own: about two minutes
    python -m benchmarks.lvis_costs --output /dev/stdout

Losses are forward and backward, the class head of the encoder with them; 900 queries, 20 objects, six decoder layers.
Seconds are the best of three. Large tensors have memory of their own that the system gets back
(`MALLOC_MMAP_THRESHOLD_`): what is measured is in use at once.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from querydet.analysis.activation_memory import peak_memory, reset_peak_memory
from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.assigners.host import Request, assign_all
from querydet.modeling.federated import FederatedFocalLoss
from querydet.modeling.joining import join
from querydet.modeling.losses import FocalLoss
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess
from querydet.structures import Assignment, ObjectCount, PredictionSet, QueryGroup, Stage, Targets
from querydet.utils.provenance import provenance

SIZE, TOKENS, DIM, QUERIES, LAYERS, OBJECTS = (800, 1333), 22223, 256, 900, 6, 20
REPEATS = 3
OUTPUT = Path(__file__).parent / "results" / "lvis_costs.json"


def targets_of(classes: int) -> Targets:
    """Make random objects of one image."""
    labels = torch.randint(classes, (OBJECTS,))
    boxes = torch.cat([0.2 + 0.6 * torch.rand(OBJECTS, 2), 0.05 + 0.2 * torch.rand(OBJECTS, 2)], 1)
    return Targets((labels,), (boxes,), ("image",), (0,), ObjectCount((OBJECTS,)))


def predictions_of(logits: Tensor, layer: int = 0) -> PredictionSet:
    """Make the predictions of one layer from logits (1, Q, K), with random boxes."""
    count = logits.shape[1]
    boxes = torch.cat([0.2 + 0.6 * torch.rand(1, count, 2), 0.05 + 0.2 * torch.rand(1, count, 2)], 2)
    return PredictionSet(Stage.DECODER, layer, False, QueryGroup("primary", 0, count), logits, boxes, boxes)


def class_loss(classes: int, is_federated: bool) -> FocalLoss | FederatedFocalLoss:
    """Make the loss, with as many images of each class as its index says."""
    counts = range(1, classes + 1)
    return FederatedFocalLoss(weight=2.0, counts=counts) if is_federated else FocalLoss(weight=2.0)


def encoder(classes: int, is_federated: bool) -> Callable[[], object]:
    """Prepare the class head over all tokens, with its loss."""
    head, tokens = nn.Linear(DIM, classes), torch.randn(1, TOKENS, DIM, requires_grad=True)
    term, targets = class_loss(classes, is_federated), targets_of(classes).class_agnostic()
    row = torch.arange(OBJECTS)

    def run() -> None:
        predictions, pairs = join([predictions_of(head(tokens))], [(Assignment(row, row),)], targets)
        term(predictions, pairs).sum().backward()

    return run


def decoder(classes: int, is_federated: bool) -> Callable[[], object]:
    """Prepare the class loss of all decoder layers."""
    sets = [predictions_of(torch.randn(1, QUERIES, classes, requires_grad=True), layer) for layer in range(LAYERS)]
    term, targets, row = class_loss(classes, is_federated), targets_of(classes), torch.arange(OBJECTS)
    return lambda: term(*join(sets, [(Assignment(row, row),)] * LAYERS, targets)).sum().backward()


def matching(classes: int) -> Callable[[], object]:
    """Prepare the matching of all decoder layers."""
    sets = tuple(predictions_of(torch.randn(1, QUERIES, classes), layer) for layer in range(LAYERS))
    request = Request(HungarianAssigner(), sets, targets_of(classes))
    return lambda: assign_all([request])


def detections(classes: int, suppresses: bool) -> Callable[[], object]:
    """Prepare the choice of 300 detections."""
    part = NMSPostprocess(num_detections=300) if suppresses else TopKPostprocess(num_detections=300)
    predictions = predictions_of(torch.randn(1, QUERIES, classes) - 4)
    return lambda: part(predictions.logits, predictions.boxes, [SIZE])


def best_class(classes: int) -> Callable[[], object]:
    """Prepare the scores of all tokens by their best class, as DINO selects."""
    logits = torch.randn(1, TOKENS, classes)
    return lambda: logits.max(-1).values.topk(QUERIES, 1)


PARTS: dict[str, Callable[[int], Callable[[], object]]] = {
    "encoder head and focal loss": lambda classes: encoder(classes, False),
    "encoder head and federated loss": lambda classes: encoder(classes, True),
    "focal loss of the decoder": lambda classes: decoder(classes, False),
    "federated loss of the decoder": lambda classes: decoder(classes, True),
    "matching": matching,
    "best detections": lambda classes: detections(classes, False),
    "suppression within each class": lambda classes: detections(classes, True),
    "selection by the best class": best_class,
}


def measure(case: tuple[str, int]) -> dict[str, object]:
    """Run one case: its seconds, and what the process grew by at most."""
    part, classes = case
    torch.set_num_threads(1)
    torch.manual_seed(0)
    PARTS[part](60)()  # what PyTorch sets up once
    run, seconds = PARTS[part](classes), []
    device = torch.device("cpu")
    reset_peak_memory(device)
    before = peak_memory(device)
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    memory = round((peak_memory(device) - before) / 2**20)
    return {"part": part, "classes": classes, "seconds": round(min(seconds), 4), "peak_mib": memory}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every case and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args(argv)
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # bytes; read when the processes start
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows = []
        for case in [(part, classes) for part in PARTS for classes in (80, 1203)]:
            rows.append(pool.apply(measure, (case,)))
            print(json.dumps(rows[-1]), flush=True)
    found = {**provenance(["benchmarks.lvis_costs", *(argv or [])]), "rows": rows}
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
