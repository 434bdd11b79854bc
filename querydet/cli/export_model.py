"""``querydet export``, whose options are in `querydet.cli.arguments.export_model`."""

import argparse
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from detectron2.utils.logger import setup_logger

from querydet import Predictor, __version__
from querydet.checkpoint import check_exists
from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.weights import find_weights
from querydet.cli.arguments.export_model import FORMATS, parse_arguments
from querydet.data.media import find_media
from querydet.export.checking import Run, measure
from querydet.export.exported_program import export_program, min_side
from querydet.export.graph import INPUTS, output_names
from querydet.export.inference_checkpoint import export_checkpoint
from querydet.export.masks import mask_settings
from querydet.export.onnx import OnnxModel, export_onnx, require_onnx
from querydet.export.operators import DEFINITIONS
from querydet.export.running import run_program
from querydet.modeling.detector import QueryDetector
from querydet.utils.atomic import atomic_write

logger = logging.getLogger("querydet.export")

SIZES = ((240, 320), (333, 251), (200, 200))  # of the pictures that are made up where none are given
BATCH = 3  # images of the one batch that is checked


def load_images(predictor: Predictor, paths: Sequence[str], size: tuple[int, int] | None) -> list[torch.Tensor]:
    """Return images (3, H, W) resized by the test augmentation; noise of several sizes if there are no files.

    Args:
        predictor: of the detector; it resizes the images.
        paths: image files and folders of them.
        size: height and width beyond which images are cut off; None: nowhere.
    """
    if paths:
        files = [media.path for media in find_media(paths) if not media.is_video]
        images = [predictor.prepare(predictor.read(path))["image"].float() for path in files]
    else:
        rng = np.random.default_rng(0)
        sizes = [size or SIZES[0], *SIZES[1:]]
        images = [torch.from_numpy(rng.integers(0, 256, (3, *shape)).astype(np.float32)) for shape in sizes]
    return images if size is None else [image[:, : size[0], : size[1]] for image in images]


def check(
    name: str, model: QueryDetector, run: Run, images: Sequence[torch.Tensor], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Compare an exported file with the detector, on each image and on a batch of several.

    Raises:
        ValueError: an output differs by more than the tolerance.
    """
    least = least_size(model, args)
    batches = [[image] for image in images] + ([list(images[:BATCH])] if len(images) > 1 else [])
    measured = []
    for batch in batches:
        found = measure(model, run, batch, args.tolerance, least)
        sizes = ", ".join(f"{height}x{width}" for height, width in found.sizes)
        differences = f"logits differ by {found.logits:.1e}, boxes by {found.query_boxes:.1e}"
        differences += "" if model.masks is None else f", masks by {found.masks:.1e}"
        swapped = f" (but for images of {found.swapped} queries with swapped ranks)" if found.swapped else ""
        logger.info("%s, %s: %s%s, %d detections differ", name, sizes, differences, swapped, found.detections)
        if not found.within(args.tolerance):
            raise ValueError(
                f"{name} does not compute what the detector does, within {args.tolerance}, on images of {sizes}: "
                f"{differences}, {found.detections} detections differ"
            )
        measured.append(asdict(found))
    if not any(record["compared"] for record in measured):
        raise ValueError(
            f"on every image ranks of {name} seem swapped, so that nothing was compared: try other --images"
        )
    return measured


def least_size(model: QueryDetector, args: argparse.Namespace) -> tuple[int, int]:
    """Return the least height and width of a batch."""
    return tuple(args.fixed_size) if args.fixed_size else (min_side(model),) * 2


def describe(predictor: Predictor, args: argparse.Namespace) -> dict[str, Any]:
    """Describe classes, inputs and outputs for a program that runs the files."""
    height, width = least_size(predictor.model, args)
    return {
        "config": args.config_file,
        "weights": args.weights,
        "class_names": predictor.class_names,
        "input_format": predictor.model.input_format,
        "inputs": list(INPUTS),
        "outputs": list(output_names(predictor.model)),
        "masks": mask_settings(predictor.model),
        "fixed_size" if args.fixed_size else "min_size": [height, width],
        "versions": {"querydet": __version__, "torch": torch.__version__},
        "checked": {},
    }


def write(kind: str, path: str, predictor: Predictor, args: argparse.Namespace) -> Run | None:
    """Write one format.

    Returns:
        A function that runs the file; None for a checkpoint.
    """
    model = predictor.model
    size = tuple(args.fixed_size) if args.fixed_size else None
    if kind == "checkpoint":
        export_checkpoint(model, path, predictor.class_names)
        return None
    if kind == "torch":
        keep = tuple(DEFINITIONS) if args.keep_operators else ()
        torch.export.save(export_program(model, keep, size), path)
        return run_program(path)
    export_onnx(model, path, size)
    return OnnxModel(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 1 if a check failed."""
    args = parse_arguments(argv)
    setup_logger(name="querydet")
    os.makedirs(args.output, exist_ok=True)
    if "onnx" in args.formats:
        require_onnx()
    if args.ema:
        check_exists(args.weights)
        find_weights(read_checkpoint(args.weights), args.weights, ema=True)  # refuses a file without
    overrides = [*args.overrides, f"train.ema.enabled={args.ema}"]
    predictor = Predictor(args.config_file, args.weights, overrides=overrides, device="cpu")
    images = load_images(predictor, args.images, tuple(args.fixed_size) if args.fixed_size else None)
    facts = describe(predictor, args)
    try:
        for kind in args.formats:
            path = os.path.join(args.output, FORMATS[kind])
            run = write(kind, path, predictor, args)
            logger.info("wrote %s, %.1f MB", path, os.path.getsize(path) / 1e6)
            if run is not None:
                facts["checked"][kind] = check(path, predictor.model, run, images, args)
    except ValueError as error:
        logger.error("%s", error)
        return 1
    finally:
        with atomic_write(os.path.join(args.output, "export.json")) as file:
            file.write(json.dumps(facts, indent=2).encode())
    return 0
