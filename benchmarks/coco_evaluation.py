"""Times the backends of COCO's evaluation on a synthetic set of the size of COCO val2017, and compares their numbers.

    python benchmarks/coco_evaluation.py                          # 5000 images, 500,000 detections: about two minutes
    python benchmarks/coco_evaluation.py --images 500 --output /dev/stdout
    python benchmarks/coco_evaluation.py --table                  # the written results

The set has as many images, classes, objects (about 7 an image, 1 in 100 a crowd region) and detections (100 an image)
as COCO's; the detections are objects, shifted, beside inventions. Every backend runs `--repeats` times, in turns;
reported is the median of the CPU time of the process (the machine may be shared), from arrays of detections to
precision and recall, and of the whole evaluator with its images processed one by one.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances

from querydet.data.catalog import DetectionDataset
from querydet.evaluation import CocoEvaluator
from querydet.utils.provenance import provenance

OUTPUT = Path(__file__).resolve().parent / "results" / "coco_evaluation.json"
SIZE = (480, 640)
BACKENDS = ("hotcoco", "pycocotools")


def make_set(num_images: int, num_classes: int, num_detections: int) -> tuple[DetectionDataset, list[Instances]]:
    """Make a data set and detections of its images."""
    rng = np.random.default_rng(0)
    name = f"synthetic_{num_images}"
    MetadataCatalog.get(name).thing_classes = [f"class {index}" for index in range(num_classes)]
    records, detections = [], []
    for image in range(num_images):
        count = int(rng.poisson(7.3))
        corners = rng.uniform(0, 1, (count, 2)) * (SIZE[1] * 0.8, SIZE[0] * 0.8)
        sizes = np.exp(rng.normal(4, 0.9, (count, 2))).clip(4, 400)
        labels = rng.integers(num_classes, size=count)
        records.append(
            {
                "image_id": image,
                "file_name": f"{image}.jpg",
                "height": SIZE[0],
                "width": SIZE[1],
                "annotations": [
                    {
                        "bbox": [*corner.tolist(), *size.tolist()],
                        "bbox_mode": BoxMode.XYWH_ABS,
                        "category_id": int(label),
                        "area": float(size.prod() * 0.6),
                        "iscrowd": int(rng.uniform() < 0.01),
                    }
                    for corner, size, label in zip(corners, sizes, labels, strict=True)
                ],
            }
        )
        source = rng.integers(max(count, 1), size=num_detections)
        boxes = np.concatenate([rng.uniform(0, 400, (num_detections, 2)), rng.uniform(5, 200, (num_detections, 2))], 1)
        classes = rng.integers(num_classes, size=num_detections)
        if count:
            copied = rng.uniform(size=num_detections) < 0.4
            truth = np.concatenate([corners, sizes], 1)[source] + rng.normal(0, 6, (num_detections, 4))
            boxes, classes = np.where(copied[:, None], truth, boxes), np.where(copied, labels[source], classes)
        boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:].clip(1)
        instances = Instances(SIZE, pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32)))
        instances.scores = torch.tensor(rng.beta(0.7, 3, num_detections), dtype=torch.float32)
        instances.pred_classes = torch.tensor(classes)
        detections.append(instances)
    return DetectionDataset(records, name), detections


def measure(dataset: DetectionDataset, detections: list[Instances], backend: str) -> dict[str, Any]:
    """Return the seconds of an evaluation and of the whole evaluator, and the curves."""
    evaluator = CocoEvaluator(dataset=dataset, backend=backend, distributed=False)
    evaluator.reset()
    start = time.process_time()
    for record, instances in zip(dataset, detections, strict=True):
        evaluator.process([record], [{"instances": instances}])
    evaluator.evaluate()
    whole = time.process_time() - start
    rows = {image_id: record.rows for image_id, record in evaluator.gather().items()}
    start = time.process_time()
    curves = evaluator.curves(rows)
    return {"evaluation": time.process_time() - start, "evaluator": whole, "curves": curves, "name": evaluator.backend}


def main() -> None:
    """Measure, write the data file, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--detections", type=int, default=100, help="of each image")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--output", default=str(OUTPUT))
    parser.add_argument("--table", action="store_true", help="print the results that were written")
    args = parser.parse_args()
    if not args.table:
        content = run(args)
        Path(args.output).write_text(json.dumps(content, indent=1) + "\n")
    content = json.loads(Path(args.output).read_text()) if args.table else content
    for row in content["results"]:
        print(f"{row['backend']:24} evaluation {row['evaluation_s']:8.2f} s, evaluator {row['evaluator_s']:8.2f} s")
    print(f"speed-up {content['speedup']}, of the whole evaluator {content['evaluator_speedup']}")
    print(f"largest difference {content['largest_difference']}")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure all backends and return the content of the data file."""
    torch.set_num_threads(1)
    dataset, detections = make_set(args.images, args.classes, args.detections)
    runs: dict[str, list[dict[str, Any]]] = {backend: [] for backend in BACKENDS}
    for repeat in range(args.repeats):
        for backend in BACKENDS:
            runs[backend].append(measure(dataset, detections, backend))
            print(f"{backend}, run {repeat + 1} of {args.repeats}: done", file=sys.stderr, flush=True)
    fast, official = (runs[backend][0]["curves"] for backend in BACKENDS)
    seconds = {
        kind: {backend: statistics.median(run[kind] for run in runs[backend]) for backend in BACKENDS}
        for kind in ("evaluation", "evaluator")
    }
    differences = [abs(fast.twelve()[name] - value) for name, value in official.twelve().items()]
    differences += [abs(a - b) for a, b in zip(fast.per_class(), official.per_class(), strict=True)]
    return {
        **provenance(sys.argv),
        "clock": "CPU time of the process; medians",
        "images": args.images,
        "objects": sum(len(record["annotations"]) for record in dataset),
        "detections": args.images * args.detections,
        "repeats": args.repeats,
        "results": [
            {
                "backend": str(runs[backend][0]["name"]),
                "evaluation_s": round(seconds["evaluation"][backend], 3),
                "evaluator_s": round(seconds["evaluator"][backend], 3),
            }
            for backend in BACKENDS
        ],
        "speedup": round(seconds["evaluation"]["pycocotools"] / seconds["evaluation"]["hotcoco"], 1),
        "evaluator_speedup": round(seconds["evaluator"]["pycocotools"] / seconds["evaluator"]["hotcoco"], 1),
        "AP": official.twelve()["AP"],
        "largest_difference": max(differences),
    }


if __name__ == "__main__":
    main()
