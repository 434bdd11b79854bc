"""Measures how much of a model's rate is left when it predicts folders and videos, and in an evaluation.

    python -m benchmarks.throughput                    # DINO R50 of random weights; ten minutes on an idle machine
    python -m benchmarks.throughput --threads 2
    python -m benchmarks.throughput --table

Files are JPEG images and a video of 480x640 pixels. The model sees them resized to `--side`, which is small: everything
else then takes more of the time. Contestants take turns on the same images:

* `model`: the model on images that were read and resized before, one by one.
* `folder`: `querydet predict` on the files, with pictures of ten objects and a json.
* `one by one`: the same work, each step after the other.
* `video`: `querydet predict` on the video.

The rate depends on how busy the machine is; ratios are medians of those of the rounds. The processor time of all
threads, in parts of the model's, hardly does. Where the model keeps every core busy nothing is overlapped, and the part
of its rate that is left is one divided by it.

The evaluation is `querydet.engine.evaluate` of a model that returns 300 random detections at once, with COCO's metrics
and data workers: its processor time an image is that outside of a model, with the workers and their start.
"""

import argparse
import json
import logging
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from PIL import Image
from tabulate import tabulate
from torch import nn

from benchmarks.contest import CLASSES, origin_of_module
from benchmarks.data import make_files
from querydet.checkpoint import Checkpointer
from querydet.cli.predict import predict_images, predict_video
from querydet.config import load_config
from querydet.data import load_coco
from querydet.data.build import build_test_loader
from querydet.data.media import MediaFile, VideoSink
from querydet.engine.evaluation import Evaluation, evaluate
from querydet.evaluation import CocoEvaluator, CocoWriter
from querydet.inference.predictor import Predictor
from querydet.visualization import draw_instances

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "throughput.json"
DINO = "projects/dino/configs/dino_r50_4scale_12ep.py"
MINIATURE = [
    "model.encoder.num_layers=1",
    "model.decoder.num_layers=1",
    "model.selection.num_queries=100",
]
SIZE = (480, 640)
DRAWN = 10  # objects of a picture
OBJECTS = 7  # annotated on an image of COCO, on average
NAMES = [f"class {index}" for index in range(CLASSES)]
Run = Callable[[], None]


def make_predictor(options: argparse.Namespace, folder: Path, paths: list[str]) -> Predictor:
    """Make a predictor of random weights that finds about ten objects on an image."""
    overrides = [f"model.num_classes={CLASSES}", "dataloader.test.dataset=null", *options.overrides]
    cfg = load_config(DINO, [*overrides, *(MINIATURE if options.config == "miniature" else [])])
    augmentations = cfg.dataloader.test.mapper.augmentations
    augmentations.short_side, augmentations.max_side = options.side, 2 * options.side
    torch.manual_seed(0)
    Checkpointer(instantiate(cfg.model), str(folder), class_names=NAMES).save("model")
    predictor = Predictor(cfg, folder / "model.pth", threshold=0.0, device="cpu")
    predictor.threshold = statistics.median(float(predictor(path).scores[DRAWN]) for path in paths[:5])
    return predictor


def make_contestants(predictor: Predictor, folder: Path, paths: list[str]) -> dict[str, Run]:
    """Make the functions that predict the images in different ways."""
    inputs = [predictor.prepare(predictor.read(path)) for path in paths]
    pictures, clip = folder / "pictures", folder / "clip.mp4"
    pictures.mkdir()
    jobs = [(MediaFile(path, os.path.basename(path)), str(pictures / os.path.basename(path))) for path in paths]
    sink = VideoSink(str(clip), 25.0)
    for path in paths:
        sink.write(predictor.read(path))
    sink.close()

    def model() -> None:
        for values in inputs:
            predictor.detect_prepared([values])

    def with_writer(run: Callable[[CocoWriter], Any]) -> Run:
        def call() -> None:
            writer = CocoWriter(NAMES, list(range(1, CLASSES + 1)), str(folder))
            run(writer)
            writer.save(str(pictures / "detections.json"))

        return call

    def one_by_one(writer: CocoWriter) -> None:
        for media, path in jobs:
            image = predictor.read(media.path)
            instances = predictor(image)
            writer.add(media.name, instances)
            Image.fromarray(draw_instances(image, instances, NAMES)).save(path)

    video = MediaFile(str(clip), clip.name)
    return {
        "model": model,
        "folder": with_writer(lambda writer: predict_images(jobs, predictor, writer)),
        "one by one": with_writer(one_by_one),
        "video": with_writer(lambda writer: predict_video(video, str(pictures / "clip.mp4"), predictor, writer)),
    }


class RandomDetections(nn.Module):
    """Returns 300 random detections of an image."""

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the detections, in the format of a detector."""
        return [{"instances": self._detections(image["height"], image["width"])} for image in batch]

    def _detections(self, height: int, width: int) -> Instances:
        corners = torch.rand(300, 2) * torch.tensor([width * 0.7, height * 0.7])
        return Instances(
            (height, width),
            pred_boxes=Boxes(torch.cat([corners, corners + 60], dim=1)),
            scores=torch.rand(300).sort(descending=True).values,
            pred_classes=torch.randint(CLASSES, (300,)),
        )


def make_evaluation(predictor: Predictor, folder: Path, paths: list[str], side: int, count: int) -> Run:
    """Make the function that evaluates random detections on images of the files."""
    rng = np.random.default_rng(0)
    height, width = SIZE
    images = []
    for index in range(count):
        (folder / f"copy{index}.jpg").unlink(missing_ok=True)
        os.link(paths[index % len(paths)], folder / f"copy{index}.jpg")
        images.append({"id": index, "file_name": f"copy{index}.jpg", "height": height, "width": width})
    annotations = [
        {"image_id": image["id"], "category_id": int(rng.integers(CLASSES)) + 1, "area": 4800.0, "iscrowd": 0}
        | {"bbox": [float(rng.uniform(0, 500)), float(rng.uniform(0, 400)), 80.0, 60.0]}
        for image in images
        for _ in range(OBJECTS)
    ]
    content = {
        "images": images,
        "annotations": [{**item, "id": index} for index, item in enumerate(annotations, start=1)],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(NAMES)],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    dataset = load_coco(str(folder / "annotations.json"), str(folder))
    mapper = predictor._cfg.dataloader.test.mapper.copy()
    mapper.augmentations.short_side, mapper.augmentations.max_side = side, 2 * side
    loader = build_test_loader(dataset=dataset, mapper=instantiate(mapper), num_workers=os.cpu_count() or 1)
    evaluation = Evaluation(loader, CocoEvaluator(dataset=dataset))
    return lambda: evaluate(RandomDetections(), evaluation) and None


def processor_seconds() -> float:
    """Return the processor time of this process, its threads and the processes that it has started and that ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


def timed(run: Run) -> tuple[float, float]:
    """Return the seconds of a call and its processor seconds."""
    start, start_processor = time.perf_counter(), processor_seconds()
    run()
    return time.perf_counter() - start, processor_seconds() - start_processor


def take_turns(contestants: Mapping[str, Run], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return the seconds and processor seconds of each contestant in every round, after one that does not count."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            times[name].append(timed(run))
            print(f"round {number}, {name}: {times[name][-1]}", flush=True)
    return {name: rounds[1:] for name, rounds in times.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = make_files(folder, options.images)
        predictor = make_predictor(options, folder, paths)
        drawn = statistics.mean(len(predictor(path)) for path in paths[:5])
        times = take_turns(make_contestants(predictor, folder, paths), options.rounds)
        evaluations = [measure_evaluation(options, predictor, folder, paths, side) for side in (options.side, 800)]
    facts = {"config": options.config, "side": options.side, "images": options.images, "drawn": round(drawn, 1)}
    rows = [prediction_row(options, name, times[name], times["model"]) for name in times]
    return {**facts, "rounds": options.rounds, "threads": options.threads, "rows": rows, "evaluations": evaluations}


def prediction_row(
    options: argparse.Namespace, name: str, times: list[tuple[float, float]], model: list[tuple[float, float]]
) -> dict[str, Any]:
    """Return the rate of a contestant in images per second, and its ratios to the model."""
    rates = [ours[0] / other[0] for ours, other in zip(model, times, strict=True)]
    processor = [other[1] / ours[1] for ours, other in zip(model, times, strict=True)]
    return {
        "what": name,
        "images_per_second": round(options.images / statistics.median(seconds for seconds, _ in times), 3),
        "of_the_models_rate": round(statistics.median(rates), 3),
        "rounds": [round(rate, 3) for rate in rates],
        "processor_time": round(statistics.median(processor), 3),
        "processor_rounds": [round(each, 3) for each in processor],
    }


def measure_evaluation(
    options: argparse.Namespace, predictor: Predictor, folder: Path, paths: list[str], side: int
) -> dict[str, Any]:
    """Return the processor milliseconds of an image in an evaluation outside of the model, and those of the model."""
    resized = predictor._cfg.dataloader.test.mapper.augmentations.copy()
    resized.short_side, resized.max_side = side, 2 * side
    predictor._augmentations = T.AugmentationList(instantiate(resized))
    inputs = predictor.prepare(predictor.read(paths[0]))
    model = min(timed(lambda: predictor.detect_prepared([inputs]) and None)[1] for _ in range(3))
    run = make_evaluation(predictor, folder, paths, side, options.evaluated)
    outside = min(timed(run)[1] for _ in range(2)) / options.evaluated
    row = {"side": side, "images": options.evaluated, "model_ms": round(1e3 * model, 1)}
    row |= {"outside_ms": round(1e3 * outside, 1), "outside_part": round(outside / (outside + model), 4)}
    print(row, flush=True)
    return row


def make_table(found: Mapping[str, Any]) -> str:
    """Return the results as a Markdown table."""
    rows = [
        (row["what"], row["images_per_second"], row["of_the_models_rate"], row["processor_time"])
        for row in found["rows"]
    ]
    headers = ["", "images a second", "of the model's rate", "processor time, model = 1"]
    parts = [tabulate(rows, headers, "pipe", disable_numparse=True)]
    rows = [
        (f"{row['side']}", row["model_ms"], row["outside_ms"], f"{row['outside_part']:.1%}")
        for row in found["evaluations"]
    ]
    headers = ["evaluation, shorter side", "model, processor ms", "all else, processor ms", "of all"]
    return "\n\n".join([*parts, tabulate(rows, headers, "pipe", disable_numparse=True)])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=("dino", "miniature"), default="dino", help="DINO R50, or a small one")
    parser.add_argument("--side", type=int, default=320, help="shorter side of the model's input")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--evaluated", type=int, default=300, help="images of the evaluation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the model")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the written results as Markdown")
    parser.add_argument("overrides", nargs="*", help="changes of the config")
    options = parser.parse_args()
    if not options.table:
        logging.disable(logging.INFO)
        found = {**origin_of_module(), **measure(options)}
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(make_table(json.loads(options.output.read_text())))


if __name__ == "__main__":
    main()
