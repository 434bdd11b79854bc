"""Times detection on images with full-size R50 models of random weights, beside Hugging Face's Deformable DETR.

    python -m benchmarks.inference                            # all parts, on the CPU
    python -m benchmarks.inference --parts peer --sizes 640x640 --batches 1 --repeats 5
    python -m benchmarks.inference --device cuda --dtypes bfloat16
    python -m benchmarks.inference --table                    # the written results as Markdown

Parts:

* `peer`: two-stage Deformable DETR with box refinement, ours and Hugging Face's (`pip install transformers`), from
  normalised images on the device to boxes, taking turns.
* `predictor`: DINO through `querydet.Predictor`, from arrays of 480x640 to boxes, beside only its model.
* `graphs`: DINO by CUDA graphs beside the same model without, in images per second.
  Left out on a CPU.
* `breakdown`: the milliseconds of each part of DINO, DETA and Deformable DETR++ (DETA, arXiv 2212.06137, table 2).

Medians. The machine may be busy: compare ratios.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.config import instantiate
from tabulate import tabulate
from torch import nn

from benchmarks import contest
from querydet.analysis.measure import noise_inputs
from querydet.analysis.timing import INFERENCE, time_inference
from querydet.config import load_config
from querydet.inference.cuda_graphs import use_cuda_graphs

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "inference.json"
TWO_STAGE = "projects/deformable_detr/configs/deformable_detr_r50_two_stage_50ep.py"
MODELS = {
    "Deformable DETR++": "projects/deformable_detr/configs/deformable_detr_pp_r50_12ep.py",
    "DINO": "projects/dino/configs/dino_r50_4scale_12ep.py",
    "DETA": "projects/deta/configs/deta_r50_12ep.py",
}
Run = Callable[[], Any]


def make_model(config: str, device: str) -> nn.Module:
    """Make our model, with random weights and 80 classes."""
    torch.manual_seed(0)
    return instantiate(load_config(config, [f"model.num_classes={contest.CLASSES}"]).model).to(device).eval()


def in_type(dtype: str, device: str, run: Run) -> Run:
    """Return the function under autocast, unless the type is float32, and without gradients."""

    def call() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            run()

    return call


def compare_with_peer(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time our model and the peer, for every size, batch and type."""
    ours, peer = make_model(TWO_STAGE, options.device), contest.make_peer(options.device).eval()
    rows = []
    for height, width, batch, dtype in cases(options):
        images = noise_inputs(batch, height, width, contest.CLASSES)
        inputs = contest.peer_inputs(images, options.device)
        on_device = [{**inputs, "image": inputs["image"].to(options.device)} for inputs in images]
        contestants = {
            "querydet": in_type(dtype, options.device, lambda images=on_device: ours(images)),
            "transformers": in_type(dtype, options.device, lambda inputs=inputs: peer(**inputs)),
        }
        seconds = contest.take_turns(contestants, options.repeats, options.device)
        row: dict[str, Any] = {"size": f"{height}x{width}", "batch": batch, "dtype": dtype}
        row["milliseconds"] = {name: round(1e3 * value, 2) for name, value in seconds.items()}
        row["times_faster"] = round(seconds["transformers"] / seconds["querydet"], 2)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def time_predictor(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time DINO through the predictor, which resizes images to 800x1066 as those of COCO, and its model."""
    from querydet.evaluation import ArrayPredictor

    model = make_model(MODELS["DINO"], options.device)
    augmentations = instantiate(load_config(MODELS["DINO"]).dataloader.test.mapper.augmentations)
    rows = []
    for batch in options.batches:
        small = noise_inputs(batch, 480, 640, contest.CLASSES)
        arrays = [inputs["image"].permute(1, 2, 0).numpy() for inputs in small]
        resized = noise_inputs(batch, 800, 1066, contest.CLASSES)
        predictor = ArrayPredictor(model=model, augmentations=augmentations, image_format="RGB")
        contestants = {
            "Predictor": in_type("float32", options.device, lambda run=predictor, images=arrays: run.detect(images)),
            "model": in_type("float32", options.device, lambda images=resized: model(images)),
        }
        seconds = contest.take_turns(contestants, options.repeats, options.device)
        milliseconds = {name: round(1e3 * value, 2) for name, value in seconds.items()}
        rows.append({"batch": batch, "milliseconds": milliseconds})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def break_down(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the parts of each model, for every size, batch and type."""
    rows = []
    for name, config in MODELS.items():
        model = make_model(config, options.device)
        for height, width, batch, dtype in cases(options):
            images = noise_inputs(batch, height, width, contest.CLASSES)
            with torch.autocast(options.device, torch.bfloat16, enabled=dtype == "bfloat16"):
                times = time_inference(model, images, repeats=options.repeats).milliseconds
            row = {"model": name, "size": f"{height}x{width}", "batch": batch, "dtype": dtype}
            rows.append({**row, "milliseconds": {part: round(value, 2) for part, value in times.items()}})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def compare_graphs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time DINO with and without CUDA graphs, for every size, batch and type."""
    plain, graphed = make_model(MODELS["DINO"], options.device), make_model(MODELS["DINO"], options.device)
    use_cuda_graphs(graphed)
    rows = []
    for height, width, batch, dtype in cases(options):
        images = noise_inputs(batch, height, width, contest.CLASSES)
        on_device = [{**inputs, "image": inputs["image"].to(options.device)} for inputs in images]
        contestants = {
            "plain": in_type(dtype, options.device, lambda images=on_device: plain(images)),
            "CUDA graphs": in_type(dtype, options.device, lambda images=on_device: graphed(images)),
        }
        seconds = contest.take_turns(contestants, options.repeats, options.device)
        milliseconds = {name: round(1e3 * value, 2) for name, value in seconds.items()}
        rows.append({"size": f"{height}x{width}", "batch": batch, "dtype": dtype, "milliseconds": milliseconds})
        print(json.dumps(rows[-1]), flush=True)
    return rows


PARTS = {"peer": compare_with_peer, "predictor": time_predictor, "graphs": compare_graphs, "breakdown": break_down}


def cases(options: argparse.Namespace) -> list[tuple[int, int, int, str]]:
    """Return height, width, batch and type of every case."""
    product = [(size, batch, dtype) for size in options.sizes for batch in options.batches for dtype in options.dtypes]
    parsed = [(*map(int, size.split("x")), int(batch), dtype) for size, batch, dtype in [*product, *options.also]]
    return [(height, width, batch, dtype) for height, width, batch, dtype in parsed]


def make_table(part: str, rows: list[dict[str, Any]]) -> str:
    """Return the rows of a part as a Markdown table."""
    if part.startswith("peer"):
        headers = ["size", "batch", "type", "querydet (ms)", "transformers (ms)", "times faster", "images per second"]
        cells = [
            (row["size"], row["batch"], row["dtype"], *row["milliseconds"].values(), row["times_faster"],
             f"{1e3 * row['batch'] / row['milliseconds']['querydet']:.2f}")
            for row in rows
        ]  # fmt: skip
    elif part == "predictor":
        headers = ["batch", "Predictor (ms)", "model (ms)"]
        cells = [(row["batch"], *row["milliseconds"].values()) for row in rows]
    elif part == "graphs":
        headers = ["size", "batch", "type", "plain (ms)", "CUDA graphs (ms)", "images per second"]
        cells = [
            (row["size"], row["batch"], row["dtype"], *row["milliseconds"].values(),
             f"{1e3 * row['batch'] / row['milliseconds']['CUDA graphs']:.2f}")
            for row in rows
        ]  # fmt: skip
    else:
        timed = [name for name in INFERENCE if any(name in row["milliseconds"] for row in rows)]
        headers = ["model", "size", "batch", "type", *timed, "total"]
        cells = [
            (
                row["model"],
                row["size"],
                row["batch"],
                row["dtype"],
                *(row["milliseconds"][name] for name in headers[4:]),
            )
            for row in rows
        ]
    return tabulate(cells, headers=headers, tablefmt="pipe")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="default: all for the device")
    parser.add_argument("--sizes", nargs="+", default=["640x640", "800x1333"], help="HEIGHTxWIDTH")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32"])
    also = {"nargs": 3, "metavar": ("SIZE", "BATCH", "TYPE"), "help": "one more case, such as 640x640 1 bfloat16"}
    parser.add_argument("--also", action="append", default=[], **also)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the written results as Markdown")
    options = parser.parse_args()
    if options.table:
        print(contest.make_tables(json.loads(options.output.read_text()), make_table))
        return
    options.parts = options.parts or [part for part in PARTS if part != "graphs" or options.device == "cuda"]
    contest.run_parts({part: partial(run, options) for part, run in PARTS.items()}, "peer", options)


if __name__ == "__main__":
    main()
