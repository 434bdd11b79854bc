"""Measures how many training images a core reads and augments in a second, and the time of each step.

    python -m benchmarks.data                            # JPEG files of 480x640 that it makes
    python -m benchmarks.data --images photos/ --count 200
    python -m benchmarks.data --table

The mapper is that of `configs/common/data/coco.py` (the DETR augmentation up to 800x1333), in one thread: workers of
a loader are processes, each with its own. Milliseconds are medians over the images. Other libraries decode the same
files beside Pillow, which Detectron2 reads with; their results differ from its in single grey levels.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from detectron2.config import instantiate
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image
from tabulate import tabulate

from benchmarks.contest import origin_of_module
from querydet.config import get_config

RESULTS = Path(__file__).resolve().parent / "results" / "data.json"
OBJECTS = 7  # of an image of COCO, on average
IMAGES_OF_A_STEP, STEPS_PER_SECOND = 2, 10  # of one GPU, if a DINO step takes a tenth of a second
DECODERS: dict[str, Callable[[str], Any]] = {
    "Pillow": lambda path: detection_utils.read_image(path, format="RGB"),
    "OpenCV": lambda path: cv2.imread(path, cv2.IMREAD_COLOR_RGB),
    "torchvision": lambda path: torchvision.io.decode_jpeg(torchvision.io.read_file(path)),
}


def make_files(folder: Path, count: int) -> list[str]:
    """Write images of smooth noise, whose files have the size of photographs (about 100 kB at quality 90)."""
    generator = np.random.default_rng(0)
    paths = []
    for index in range(count):
        coarse = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC), dtype=np.int16)
        pixels = (pixels + generator.integers(-12, 13, pixels.shape)).clip(0, 255).astype(np.uint8)
        paths.append(str(folder / f"{index}.jpg"))
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def make_record(path: str) -> dict[str, Any]:
    """Make a data set's record of a file, with boxes."""
    with Image.open(path) as image:
        width, height = image.size
    corners = np.random.default_rng(0).random((OBJECTS, 2)) * 0.6 * (width, height)
    boxes = np.concatenate([corners, corners + 0.3 * np.array([width, height])], 1)
    annotations = [
        {"bbox": box.tolist(), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0} for box in boxes
    ]
    return {"file_name": path, "height": height, "width": width, "image_id": 0, "annotations": annotations}


def median_ms(function: Callable[[Any], Any], inputs: Sequence[Any]) -> float:
    """Return the median milliseconds of a call over its inputs, in processor time: other programs do not count."""
    function(inputs[0])
    times = []
    for value in inputs:
        np.random.seed(len(times))  # noqa: NPY002 - Detectron2's augmentations draw from it
        start = time.thread_time()
        function(value)
        times.append(time.thread_time() - start)
    return round(1e3 * statistics.median(times), 2)


def measure(paths: Sequence[str]) -> dict[str, Any]:
    """Measure the milliseconds of an image: of the whole mapper, its parts, and other decoders."""
    node = get_config("common/data/coco.py").dataloader.train.mapper
    mapper = instantiate(node)
    augment = T.AugmentationList(list(instantiate(node.augmentations)))
    whole = median_ms(mapper, [make_record(path) for path in paths])
    decode = median_ms(DECODERS["Pillow"], paths)
    pixels = [DECODERS["Pillow"](path) for path in paths]
    augmented = median_ms(lambda image: augment(T.AugInput(image)), pixels)
    return {
        "images": len(paths),
        "milliseconds": {"all": whole, "decoding": decode, "augmentation": augmented},
        "images_per_second_and_core": round(1e3 / whole, 1),
        "decoders": {name: median_ms(decoder, paths) for name, decoder in DECODERS.items()},
    }


def make_table(found: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    rows = [(f"{part}, ms an image", value) for part, value in found["milliseconds"].items()]
    rows += [(f"decoding by {name}, ms an image", value) for name, value in found["decoders"].items()]
    rows.append(("images a second and core", found["images_per_second_and_core"]))
    images_per_second = IMAGES_OF_A_STEP * STEPS_PER_SECOND
    cores = images_per_second / found["images_per_second_and_core"]
    rows.append((f"cores for {images_per_second} images a second", f"{cores:.1f}"))
    return tabulate(rows, headers=["one thread", ""], tablefmt="pipe", disable_numparse=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of JPEG files; without it they are made")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the written results as Markdown")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        with tempfile.TemporaryDirectory() as folder:
            paths = sorted(map(str, options.images.glob("*.jpg")))[: options.count] if options.images else []
            if options.images and not paths:
                raise SystemExit(f"{options.images} has no *.jpg")
            found = {**origin_of_module(), **measure(paths or make_files(Path(folder), options.count))}
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(make_table(json.loads(options.output.read_text())))


if __name__ == "__main__":
    main()
