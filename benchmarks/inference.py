r"""Times detection on images with full-size R50 models of random weights, beside its peers.

    python -m benchmarks.inference                            # all parts, on the CPU
    python -m benchmarks.inference --parts peers profile --sizes 640x640 --batches 1
    python -m benchmarks.inference --parts peers --sizes 480x480 800x1333 --batches 1 4 --threads 1 2 \
        --output benchmarks/results/inference_sizes.json
    python -m benchmarks.inference --parts breakdown graphs --device cuda --dtypes bfloat16
    python -m benchmarks.inference --table                    # the written results as Markdown

Parts:

* `peers`: from an image in memory to boxes, DINO R50 with 4 scales: ours in every form, ONNX Runtime and OpenVINO on
  our export, libreyolo, all with the same weights; Deformable DETR, transformers' and ours; RF-DETR, another model.
  Every contestant has a process of its own, all take turns (`benchmarks/turns.py`, `benchmarks/peers.py`).
* `profile`: the share of products, convolutions, attention and sampling in the time of our float32 form.
* `graphs`: DINO by CUDA graphs beside the same model without, in images per second.
  Left out on a CPU.
* `breakdown`: the milliseconds of each part of DINO, DETA and Deformable DETR++ (DETA, arXiv 2212.06137, table 2).

Medians. The machine may be busy: compare ratios. `pip install transformers libreyolo openvino onnxruntime rfdetr` has
all peers; those that are missing are left out, with the reason.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.config import instantiate
from tabulate import tabulate
from torch import nn

from benchmarks import contest, inference_peers, inference_profile, peers_picture
from querydet.analysis.measure import noise_inputs
from querydet.analysis.timing import INFERENCE, time_inference
from querydet.config import load_config
from querydet.fusion import can_fuse, fuse
from querydet.inference.cuda_graphs import use_cuda_graphs

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "inference.json"
PICTURE = ROOT / "docs" / "images" / "peers.png"
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


def break_down(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the parts of each model, for every size, batch and type; on a CPU of its fused form."""
    rows = []
    for name, config in MODELS.items():
        made = make_model(config, options.device)
        for height, width, batch, dtype in cases(options):
            model = fuse(made, getattr(torch, dtype)) if can_fuse(made) else made
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


PARTS = {
    "peers": inference_peers.compare,
    "profile": inference_profile.profile_inference,
    "graphs": compare_graphs,
    "breakdown": break_down,
}


def cases(options: argparse.Namespace) -> list[tuple[int, int, int, str]]:
    """Return height, width, batch and type of every case."""
    dtypes = [dtype for dtype in options.dtypes or ["float32"] if dtype != "int8"]
    product = itertools.product(options.sizes, options.batches, dtypes)
    return [(*map(int, size.split("x")), batch, dtype) for size, batch, dtype in product]


def make_table(part: str, rows: list[dict[str, Any]]) -> str:
    """Return the rows of a part as a Markdown table."""
    if part == "peers":
        return inference_peers.make_tables(rows)
    if part == "profile":
        return inference_profile.make_table(rows)
    if part == "graphs":
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


def draw_peers(results: Path) -> None:
    """Draw the first case of the written results of the peers."""
    record = json.loads(results.read_text())["peers"]
    peers_picture.draw(inference_peers.by_case(record["rows"])[0], PICTURE, record["machine"])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="default: all for the device")
    parser.add_argument("--sizes", nargs="+", default=["640x640"], help="HEIGHTxWIDTH")
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    types = ("float32", "bfloat16", "int8")
    parser.add_argument("--dtypes", nargs="+", choices=types, help="default: all of the peers, float32 of other parts")
    parser.add_argument("--threads", dest="thread_counts", nargs="+", type=int, default=[2])
    parser.add_argument("--peers", nargs="+", default=[], help="parts of their names; default: all")
    parser.add_argument("--folder", type=Path, default=inference_peers.FOLDER, help="of exported graphs; kept")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--picture", action="store_true", help="only draw the written results of the peers")
    parser.add_argument("--table", action="store_true", help="only print the written results as Markdown")
    options = parser.parse_args()
    if options.table:
        print(contest.make_tables(json.loads(options.output.read_text()), make_table))
        return
    if options.picture:
        draw_peers(options.output)
        return
    options.threads = max(options.thread_counts)
    options.parts = options.parts or [part for part in PARTS if part != "graphs" or options.device == "cuda"]
    if unknown := [name for name in options.peers if not inference_peers.chosen([name], None)]:
        parser.error(f"no peer is called {', '.join(unknown)}")
    contest.run_parts({part: partial(run, options) for part, run in PARTS.items()}, None, options)
    if "peers" in options.parts:
        if options.output == RESULTS:
            draw_peers(options.output)
        sys.exit("\n".join(inference_peers.disagreements(json.loads(options.output.read_text())["peers"]["rows"])) or 0)


if __name__ == "__main__":
    main()
