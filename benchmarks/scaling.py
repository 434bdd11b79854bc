"""Measures the numbers behind the plan of docs/scaling.md, without a GPU, and computes the plan from them.

    python benchmarks/scaling.py              # writes benchmarks/results/scaling.json and the tables of docs/scaling.md

Measured: the collective calls of a real training step in two gloo processes, with their bytes; the bytes of the
gradients and states of full-size models; the time of gloo's all-reduce here, by bytes; the time of the matching, by
objects. Computed: how the sizes of random crops make processes wait for each other, by drawing them; and the exchange
of gradients over links of given bandwidth.
"""

import argparse
import json
import pickle
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.config import instantiate
from detectron2.data.transforms import AugInput, AugmentationList
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from tabulate import tabulate

from querydet.config import get_config, load_config
from querydet.engine.trainer import Trainer
from querydet.engine.training import build_model, build_optimizer, build_train_data
from querydet.structures import ObjectCount, PredictionSet, QueryGroup, Stage, Targets
from querydet.utils.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "scaling.json"
MODELS = ("projects/dino/configs/dino_r50_4scale_12ep.py", "projects/dino/configs/dino_swin_l_4scale_12ep.py")
SMALL = "quick/dino_synthetic.py"
GPUS = (8, 64, 512)
# GB/s in one direction, by data sheets, where the ring is narrowest: NVLink 4 between the H100s of a machine; between
# machines of eight, a link of 400 Gbit/s for each GPU, or one of 100 Gbit/s.
LINKS = {"NVLink 4": 450.0, "8 x 400 Gbit/s a machine": 400.0, "100 Gbit/s a machine": 12.5}
IMAGE_SIZES = ((480, 640), (640, 480))  # height, width; COCO's two most common sizes
WIDE = 0.7  # assumed part of wide images
COCO_IMAGES = 118_287  # train2017


def count_collectives(rank: int, port: int, path: str, data: str) -> None:
    """Count the exchanges of a training step of the small DINO in one of two processes; the first one writes them."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    options = [f"dataloader.train.dataset.root={data}", "dataloader.train.num_workers=0", "train.device=cpu"]
    cfg = load_config(SMALL, [*options, "dataloader.train.dataset.num_images=8"])
    model = build_model(cfg)
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    calls: list[tuple[str, int]] = []

    def exchange(state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        calls.append(("gradients, all-reduce", bucket.buffer().nbytes))
        future = torch.futures.Future()  # type: ignore[var-annotated]
        future.set_result(bucket.buffer())
        return future

    trainer = Trainer(wrapped, build_train_data(cfg), build_optimizer(cfg, model), cfg.train)
    wrapped.register_comm_hook(None, exchange)
    with EventStorage() as trainer.storage:
        trainer.iter = trainer.start_iter = 0
        trainer.run_step()  # the buckets are laid out again after the first step
        calls.clear()
        _watch(calls)
        trainer.iter = 1
        trainer.run_step()
    if rank == 0:
        bytes_of = sum(p.nbytes for p in model.parameters() if p.requires_grad)
        Path(path).write_text(json.dumps({"calls": calls, "gradient_bytes": bytes_of}))
    dist.destroy_process_group()


def _watch(calls: list[tuple[str, int]]) -> None:
    """Record every collective call that Python code makes."""
    reduce, gather = dist.all_reduce, dist.all_gather_object

    def all_reduce(tensor: torch.Tensor, *inputs: Any, **options: Any) -> Any:
        calls.append(("host values, all-reduce", tensor.nbytes))
        return reduce(tensor, *inputs, **options)

    def all_gather_object(objects: list[Any], value: Any, *inputs: Any, **options: Any) -> Any:
        calls.append(("host objects, all-gather", len(pickle.dumps(value))))
        return gather(objects, value, *inputs, **options)

    dist.all_reduce, dist.all_gather_object = all_reduce, all_gather_object


def time_all_reduce(rank: int, port: int, path: str) -> None:
    """Time gloo's all-reduce by bytes in one of two processes, the best of several (the machine may be shared)."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    seconds = {}
    for size in (2**10, 2**16, 2**20, 2**22, 2**24, 2**26):
        tensor, times = torch.zeros(size // 4), []
        for _ in range(9):
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(tensor)
            times.append(time.perf_counter() - start)
        seconds[size] = min(times)
    if rank == 0:
        Path(path).write_text(json.dumps(seconds))
    dist.destroy_process_group()


def in_two_processes(function: Any, folder: str, *inputs: Any) -> Any:
    """Run a function in two processes and return the result that the first one writes."""
    path, port = Path(folder) / f"{function.__name__}.json", torch.randint(20000, 60000, ()).item()
    mp.spawn(function, (port, str(path), *inputs), nprocs=2)
    return json.loads(path.read_text())


def sizes_of(config: str) -> dict[str, float]:
    """Return parameters in millions, and megabytes of gradients and of AdamW's state, of a full-size model."""
    model = instantiate(get_config(config).model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters())
    return {
        "parameters_m": whole / 1e6,
        "trained_m": trained / 1e6,
        "gradients_mb": trained * 4 / 1e6,
        "state_mb": (whole + 3 * trained) * 4 / 1e6,  # parameters, gradients, two moments
    }


def time_matching(objects: int, queries: int = 900, classes: int = 80, layers: int = 7) -> float:
    """Return the seconds of DINO's matching of one image on this CPU, over all layers."""
    generator = torch.Generator().manual_seed(objects)
    assigner = instantiate(get_config("common/models/dino.py").model.criterion.rules.decoder.assigner)
    boxes = torch.rand(1, queries, 4, generator=generator) * 0.4 + 0.2
    predictions = [
        PredictionSet(
            stage=Stage.DECODER,
            layer=layer,
            is_last=False,
            group=QueryGroup("primary", 0, queries),
            logits=torch.randn(1, queries, classes, generator=generator),
            boxes=boxes,
            start_boxes=boxes,
        )
        for layer in range(layers)
    ]
    targets = Targets(
        labels=(torch.randint(classes, (objects,), generator=generator),),
        boxes=(torch.rand(objects, 4, generator=generator) * 0.4 + 0.2,),
        names=("image",),
        seeds=(0,),
        step=ObjectCount((objects,)),
    )
    times = []
    for _ in range(7):
        start = time.thread_time()  # not the time that others had the core
        assigner.assign(assigner.compute(predictions, targets), predictions, targets)
        times.append(time.thread_time() - start)
    return min(times)


def waiting(batch: int, steps: int = 20_000, seed: int = 0) -> dict[int, float]:
    """Return the time of the slowest process over that of the mean one, by number of processes.

    Time is taken to be proportional to padded pixels.

    Args:
        batch: number of images of a process.
        steps: number of batches of a process that are drawn.
        seed: seed of the draws.
    """
    np.random.seed(seed)  # noqa: NPY002 - Detectron2's augmentations draw from this generator
    cfg = get_config("common/data/coco.py").dataloader.train.mapper.augmentations
    augment = AugmentationList(instantiate(cfg))
    drawn = []
    for _ in range(2000):
        height, width = IMAGE_SIZES[np.random.random() >= WIDE]  # noqa: NPY002
        image = AugInput(np.zeros((height, width, 3), np.uint8))
        augment(image)
        drawn.append(image.image.shape[:2])
    sides = np.array(drawn)[np.random.default_rng(seed).integers(0, len(drawn), (steps, batch))]
    pixels = sides[..., 0].max(1) * sides[..., 1].max(1)
    draws = np.random.default_rng(seed + 1)
    slowest = {gpus: pixels[draws.integers(0, steps, (4000, gpus))].max(1).mean() for gpus in GPUS}
    return {gpus: float(value / pixels.mean()) for gpus, value in slowest.items()}


def plan(gradients_mb: float) -> list[dict[str, Any]]:
    """Compute the milliseconds of a ring all-reduce of the gradients.

    Each of N GPUs sends 2 (N - 1) / N times their bytes to the next one, and so does every machine.
    """
    rows = []
    for gpus in GPUS:
        sent = 2 * (gpus - 1) / gpus * gradients_mb
        for link, bandwidth in LINKS.items():
            if (link == "NVLink 4") == (gpus == 8):
                rows.append({"gpus": gpus, "link": link, "sent_mb": sent, "ms": sent / bandwidth})
    return rows


def measure() -> dict[str, Any]:
    """Measure everything, for the data file."""
    with tempfile.TemporaryDirectory() as folder:
        exchanged = in_two_processes(count_collectives, folder, folder)
        reduced = in_two_processes(time_all_reduce, folder)
    models = {name: sizes_of(name) for name in MODELS}
    torch.set_num_threads(1)
    return {
        "provenance": provenance(sys.argv),
        "step": exchanged,
        "gloo_all_reduce_s": reduced,
        "models": models,
        "matching_s": {objects: time_matching(objects) for objects in (1, 7, 30, 100, 300)},
        "waiting": {batch: waiting(batch) for batch in (1, 2)},
        "plan": {name: plan(sizes["gradients_mb"]) for name, sizes in models.items()},
    }


def tables(found: dict[str, Any]) -> dict[str, str]:
    """Make the tables of docs/scaling.md, by the name of their section."""
    calls: dict[str, list[int]] = {}
    for name, size in found["step"]["calls"]:
        calls.setdefault(name, []).append(size)
    step = [(name, len(sizes), sum(sizes)) for name, sizes in calls.items()]
    models = [(name, *(f"{value:.1f}" for value in sizes.values())) for name, sizes in found["models"].items()]
    reduced = [(size, f"{1e3 * s:.2f}", f"{int(size) / s / 1e9:.2f}") for size, s in found["gloo_all_reduce_s"].items()]
    matching = [(objects, f"{1e3 * seconds:.1f}") for objects, seconds in found["matching_s"].items()]
    waits = [(batch, *(f"{value:.2f}" for value in times.values())) for batch, times in found["waiting"].items()]
    rows = [
        (name, row["gpus"], row["link"], f"{row['sent_mb']:.0f}", f"{row['ms']:.1f}")
        for name, plan_rows in found["plan"].items()
        for row in plan_rows
    ]
    epochs = [(gpus, 2 * gpus, COCO_IMAGES // (2 * gpus)) for gpus in GPUS]
    made = {
        "step": (("in a step of a small DINO", "calls", "bytes"), step),
        "models": (("model", "parameters (M)", "trained (M)", "gradients (MB)", "states (MB)"), models),
        "gloo": (("bytes", "gloo all-reduce (ms)", "GB/s"), reduced),
        "matching": (("objects", "matching of an image (ms)"), matching),
        "waiting": (("images a GPU", *(f"slowest of {gpus}" for gpus in GPUS)), waits),
        "plan": (("model", "GPUs", "link", "sent by each GPU (MB)", "exchange (ms)"), rows),
        "epochs": (("GPUs", "images a step", "steps in an epoch of COCO"), epochs),
    }
    return {name: tabulate(rows, headers=headers, tablefmt="pipe") for name, (headers, rows) in made.items()}


def filled(text: str, found: dict[str, Any]) -> str:
    """Return a document with its sections `<!-- name -->` made again."""
    for name, table in tables(found).items():
        text, count = re.subn(
            rf"<!-- {name} -->\n.*?<!-- /{name} -->",
            f"<!-- {name} -->\n{table}\n<!-- /{name} -->",
            text,
            flags=re.DOTALL,
        )
        assert count == 1, f"docs/scaling.md has {count} sections {name}"
    return text


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tables", action="store_true", help="only make the tables of docs/scaling.md again, from the written results"
    )
    args = parser.parse_args()
    if not args.tables:
        RESULTS.write_text(json.dumps(measure(), indent=2) + "\n")
    document = ROOT / "docs" / "scaling.md"
    document.write_text(filled(document.read_text(), json.loads(RESULTS.read_text())))
    print(f"wrote {RESULTS} and {document}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
