"""Counts the denoising queries of an image, and times the step that they take part in, by both rules for their groups.

    python -m benchmarks.denoising                        # writes benchmarks/results/denoising.json
    python -m benchmarks.denoising --annotations instances_train2017.json
    python -m benchmarks.denoising --no-time

Batches are drawn, with a seed, from the object counts of a data set: those of COCO that are kept in
`benchmarks/published/coco_object_counts.json`, or of a file in COCO's format. *Real positives* are the positive queries
of an image that has objects; padding and unfilled slots are none. "per process" is the rule of released code
(`GroupsPerProcess`) with the whole batch in one process, "per image" that of DINO's appendix D.1 (`GroupsPerImage`).

The step is that of DINO, R50, 4 scales, on small images, so that the queries weigh more in it than they usually do. The
two rules take turns on the same batches; the ratio is the median over pairs.
"""

import argparse
import collections
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.structures import Boxes, Instances
from tabulate import tabulate

from querydet.config import get_config
from querydet.modeling.queries import GroupsPerImage, GroupsPerProcess
from querydet.utils.provenance import provenance

ROOT = Path(__file__).resolve().parent
COUNTS, RESULTS = ROOT / "published" / "coco_object_counts.json", ROOT / "results" / "denoising.json"
RULES = {"per image": GroupsPerImage, "per process": GroupsPerProcess}
BATCHES, NUM_QUERIES, DRAWS = (2, 16, 64), 100, 2000


def read_counts(annotations: Path | None) -> tuple[str, np.ndarray]:
    """Return the source and the number of objects of each image of a data set; objects of crowds are left out."""
    if annotations is None:
        kept = json.loads(COUNTS.read_text())
        counts = [int(count) for count, images in kept["images"].items() for _ in range(images)]
        return kept["source"], np.array(counts)
    content = json.loads(annotations.read_text())
    found = collections.Counter(each["image_id"] for each in content["annotations"] if not each.get("iscrowd"))
    return annotations.name, np.array([found[image["id"]] for image in content["images"]])


def real_positives(rule: str, counts: Sequence[int]) -> list[int]:
    """Return the positive queries of each image with objects, for the object counts of a batch."""
    shares = RULES[rule](num_queries=NUM_QUERIES).share(counts, copies=2)
    return [share.groups * share.chosen for share in shares if share.objects]


def queries(rule: str, counts: Sequence[int]) -> int:
    """Return the denoising queries of each image of a batch, padding included."""
    return max(share.total for share in RULES[rule](num_queries=NUM_QUERIES).share(counts, copies=2))


def count(counts: np.ndarray, batch: int, seed: int) -> dict[str, Any]:
    """Count real positives and queries of an image, as means over drawn batches."""
    drawn = np.random.default_rng(seed).choice(counts, (DRAWS, batch)).tolist()
    row: dict[str, Any] = {"batch": batch}
    for rule in RULES:
        positives = [number for each in drawn for number in real_positives(rule, each)]
        row[rule] = {
            "real_positives": round(statistics.mean(positives), 1),
            "queries": round(statistics.mean(queries(rule, each) for each in drawn), 1),
        }
    return row


def make_batch(counts: Sequence[int], size: int, seed: int) -> list[dict[str, Any]]:
    """Make images of noise with so many random objects."""
    generator = torch.Generator().manual_seed(seed)
    batch = []
    for number, objects in enumerate(counts):
        corner = torch.rand(objects, 2, generator=generator) * 0.6
        boxes = torch.cat([corner, corner + 0.05 + 0.3 * torch.rand(objects, 2, generator=generator)], 1) * size
        instances = Instances((size, size))
        instances.gt_boxes = Boxes(boxes)
        instances.gt_classes = torch.randint(80, (objects,), generator=generator)
        image = torch.randint(256, (3, size, size), generator=generator, dtype=torch.uint8)
        batch.append({"image": image, "instances": instances, "seed": seed + number})
    return batch


def time_step(counts: np.ndarray, batch: int, size: int, pairs: int, seed: int) -> dict[str, Any]:
    """Time training steps by both rules, taking turns on the same batches."""
    torch.manual_seed(0)
    detectors = {}
    for rule, kind in RULES.items():
        model = get_config("common/models/dino.py").model
        model.denoising.groups = L(kind)(num_queries=NUM_QUERIES)
        detectors[rule] = instantiate(model).train()
    drawn = np.random.default_rng(seed).choice(counts[counts > 0], (pairs + 1, batch)).tolist()
    seconds: dict[str, list[float]] = {rule: [] for rule in RULES}
    for number, objects in enumerate(drawn):
        for rule in list(RULES)[:: 1 if number % 2 else -1]:
            inputs = make_batch(objects, size, number)
            start = time.perf_counter()
            torch.stack(list(detectors[rule](inputs).values())).sum().backward()
            seconds[rule].append(time.perf_counter() - start)
            detectors[rule].zero_grad()
    seconds = {rule: each[1:] for rule, each in seconds.items()}  # the first pair warms up
    ratios = [ours / theirs for ours, theirs in zip(*seconds.values(), strict=True)]
    return {
        "batch": batch,
        "size": size,
        "pairs": pairs,
        "median_seconds": {rule: round(statistics.median(each), 3) for rule, each in seconds.items()},
        "median_ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def report(record: dict[str, Any]) -> str:
    """Describe the results; the last line is that of batch 16."""
    head = ("batch", *(f"{what}, {rule}" for what in ("real positives", "queries") for rule in RULES))
    keys = [(rule, what) for what in ("real_positives", "queries") for rule in RULES]
    rows = [[row["batch"], *(row[rule][what] for rule, what in keys)] for row in record["counts"]]
    lines = [f"{record['source']}; {record['images']} images, num_queries={NUM_QUERIES}", ""]
    lines += [tabulate(rows, headers=head, tablefmt="github"), ""]
    if record["step"]:
        step = record["step"]
        both = ", ".join(f"{rule} {each} s" for rule, each in step["median_seconds"].items())
        lines += [
            (
                f"step of DINO R50, {step['batch']} images of {step['size']}x{step['size']}: {both}; "
                f"per image / per process {step['median_ratio']} (median of {step['pairs']} pairs)"
            ),
            "",
        ]
    (row,) = (row for row in record["counts"] if row["batch"] == 16)
    ours, theirs = (row[rule]["real_positives"] for rule in RULES)
    return "\n".join([*lines, f"positives per image at batch 16: {ours} (per process {theirs})"])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, help="count objects in this file of COCO's format")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn batches (default %(default)s)")
    parser.add_argument("--no-time", action="store_true", help="count queries only")
    parser.add_argument("--pairs", type=int, default=8, help="of timed steps (default %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="of the images of a timed step (default %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="data file (default %(default)s)")
    args = parser.parse_args(argv)
    source, counts = read_counts(args.annotations)
    record = {
        **provenance(["benchmarks/denoising.py", *(sys.argv[1:] if argv is None else argv)]),
        "source": source,
        "images": len(counts),
        "counts": [count(counts, batch, args.seed) for batch in BATCHES],
        "step": None if args.no_time else time_step(counts, 2, args.size, args.pairs, args.seed),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(record, indent=2) + "\n")
    print(report(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
