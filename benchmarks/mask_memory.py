"""Measures the peak memory of the mask part of a training step: losses of masks, forward and backward, on the CPU.

    python -m benchmarks.mask_memory                   # every case in a process of its own: about three minutes
    python -m benchmarks.mask_memory --output /dev/stdout

Features are given, of one image of 800x1333 pixels and a width of 256; every object is matched in every layer. Large
tensors have memory of their own that the system gets back (`MALLOC_MMAP_THRESHOLD_`): what is measured is in use at
once, not what a fragmented heap keeps.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from querydet.analysis.activation_memory import peak_memory, reset_peak_memory
from querydet.mask_structures import ImageMasks, ObjectMasks
from querydet.modeling.layers import MLP
from querydet.modeling.masks import AttentionMapHead, DiceLoss, FocalMaskLoss, PointDiceLoss, PointMaskLoss
from querydet.modeling.masks.attention_map import AttentionMapMasks
from querydet.modeling.masks.dot_product import DotProductMasks
from querydet.modeling.masks.pairs import pair_masks
from querydet.modeling.masks.points import SeededDraws
from querydet.structures import (
    Assignment,
    JoinedPredictions,
    MatchedPairs,
    ObjectCount,
    PredictionSet,
    QueryGroup,
    Stage,
    Targets,
)
from querydet.utils.provenance import provenance

HEIGHT, WIDTH, DIM = 800, 1333, 256
CASES = [("points", 10, objects) for objects in (10, 100)] + [("whole masks", 1, objects) for objects in (10, 100)]
OUTPUT = Path(__file__).parent / "results" / "mask_memory.json"


def dot_product() -> ImageMasks:
    """Make pixels of stride 4, as of `PixelEmbedding`."""
    pixels = torch.randn(1, DIM, 200, 334, requires_grad=True)
    return DotProductMasks(MLP(DIM, DIM, DIM, num_layers=3), pixels, (HEIGHT, WIDTH))


def attention_map() -> ImageMasks:
    """Make the head of MS-DETR's repository, with maps that are projected already."""
    head = AttentionMapHead(in_channels={"res5": 8, "res4": 8, "res3": 8}, embed_dim=DIM)
    sizes = [(13, 21), (13, 21), (25, 42), (50, 84)]
    maps = [
        torch.randn(1, width, *size, requires_grad=True) for width, size in zip((DIM, 128, 64, 32), sizes, strict=True)
    ]
    paddings = [torch.zeros(1, *size, dtype=torch.bool) for size in sizes]
    return AttentionMapMasks(head, maps[0], maps[0], maps[1:], paddings, (HEIGHT, WIDTH))


def objects_of(count: int) -> ObjectMasks:
    """Make random masks."""
    pixels = torch.rand(count * HEIGHT * WIDTH) > 0.5
    starts = torch.arange(count) * HEIGHT * WIDTH
    sizes = torch.tensor([[HEIGHT, WIDTH]]).expand(count, -1)
    return ObjectMasks(pixels, starts, sizes, (HEIGHT, WIDTH), SeededDraws([0], torch.device("cpu")))


def losses(masks: ImageMasks, objects: ObjectMasks, layers: int, points: bool) -> Tensor:
    """Return the sum of both losses of masks over all layers."""
    count = len(objects.starts)
    empty = torch.zeros(1, count, 4)
    sets = [
        PredictionSet(
            stage=Stage.DECODER,
            layer=layer,
            is_last=layer == layers - 1,
            group=QueryGroup("primary", 0, count),
            logits=empty,
            boxes=empty,
            start_boxes=empty,
            hidden=torch.randn(1, count, DIM, requires_grad=True),
            masks=masks,
        )
        for layer in range(layers)
    ]
    row = torch.arange(count)
    labels, boxes = (torch.zeros(count, dtype=torch.int64),), (torch.zeros(count, 4),)
    targets = Targets(labels, boxes, ("image",), (0,), ObjectCount((count,)), objects)
    pairs = pair_masks(sets, [(Assignment(row, row),)] * layers, targets)
    matched = MatchedPairs(row, row, row, row, torch.zeros(count, 4), (count,), masks=pairs)
    terms = (
        [PointMaskLoss(weight=5), PointDiceLoss(weight=5)] if points else [FocalMaskLoss(weight=1), DiceLoss(weight=1)]
    )
    joined = JoinedPredictions(empty, empty, (count,))
    return torch.stack([term(joined, matched).sum() for term in terms]).sum()


def measure(case: tuple[str, int, int]) -> dict[str, object]:
    """Run one case: its seconds, and what the process grew by at most."""
    kind, layers, count = case
    torch.set_num_threads(1)
    torch.manual_seed(0)
    masks = dot_product() if kind == "points" else attention_map()
    objects, device = objects_of(count), torch.device("cpu")
    losses(masks, objects_of(1), 1, kind == "points").backward()  # what PyTorch sets up once
    reset_peak_memory(device)
    before, start = peak_memory(device), time.perf_counter()
    losses(masks, objects, layers, kind == "points").backward()
    return {
        "losses": kind,
        "layers": layers,
        "objects": count,
        "pairs": layers * count,
        "peak_mib": round((peak_memory(device) - before) / 2**20),
        "predicted_masks_mib": round(layers * count * (200 * 334 if kind == "points" else HEIGHT * WIDTH) * 4 / 2**20),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every case and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args(argv)
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # bytes; read when the processes start
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows = []
        for case in CASES:
            rows.append(pool.apply(measure, (case,)))
            print(json.dumps(rows[-1]), flush=True)
    found = {**provenance(["benchmarks.mask_memory", *(argv or [])]), "rows": rows}
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
