"""``querydet export``, whose options are in `querydet.cli.arguments.export_model`."""

import argparse
import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
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
from querydet.export.agreement import compare_detections
from querydet.export.checking import Run, measure
from querydet.export.exported_program import export_program, min_side
from querydet.export.graph import INPUTS, output_names, pad_images
from querydet.export.inference_checkpoint import export_checkpoint
from querydet.export.masks import mask_settings
from querydet.export.onnx import OnnxModel, export_onnx, require_onnx
from querydet.export.openvino import HINTS, OpenVinoModel, export_openvino, require_openvino
from querydet.export.operators import DEFINITIONS
from querydet.export.running import run_program
from querydet.modeling.detector import QueryDetector
from querydet.utils.atomic import atomic_write
from querydet.utils.steps import Steps

logger = logging.getLogger("querydet.export")

LEAST_AGREEMENT = {"bfloat16": 0.95, "int8": 0.9}  # least share of detections with a counterpart; ours
SIZES = ((240, 320), (333, 251), (200, 200))  # of the pictures that are made up where none are given
BATCH = 3  # images of the one batch that is checked
MOST_CALIBRATION = 300  # images; what nncf takes by default


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


def batches_of(images: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Return the batches to check: each image, and several together."""
    return [[image] for image in images] + ([list(images[:BATCH])] if len(images) > 1 else [])


def check(
    name: str, model: QueryDetector, run: Run, images: Sequence[torch.Tensor], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Compare an exported file with the detector, on each image and on a batch of several.

    Raises:
        ValueError: an output differs by more than the tolerance.
    """
    least = least_size(model, args)
    measured = []
    for batch in batches_of(images):
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


def check_detections(
    name: str, model: QueryDetector, run: Run, images: Sequence[torch.Tensor], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Compare what a file in a reduced precision detects with what the detector does.

    Raises:
        ValueError: too few detections of all images have a counterpart.
    """
    least = least_size(model, args)
    found = [compare_detections(model, run, batch, least) for batch in batches_of(images)]
    total, matched = sum(each.detections for each in found), sum(each.matched for each in found)
    text = f"{matched} of {total} confident detections have a counterpart"
    logger.info("%s, %d batches: %s", name, len(found), text)
    if matched < LEAST_AGREEMENT[args.precision] * total:
        raise ValueError(
            f"{name} does not detect what the detector does: {text}, less than {LEAST_AGREEMENT[args.precision]:.0%}; "
            "if --images are pictures of the data set, use a higher --precision, or more images for --calibration"
        )
    return [asdict(each) for each in found]


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
        "openvino": {"precision": args.precision, "inference_precision_hint": HINTS[args.precision]},
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
    if kind == "onnx":
        export_onnx(model, path, size)
        return OnnxModel(path)
    with onnx_graph(predictor, args) as graph:
        export_openvino(graph, path, args.precision, calibration_inputs(predictor, args))
    return OpenVinoModel(path)


@contextlib.contextmanager
def onnx_graph(predictor: Predictor, args: argparse.Namespace) -> Iterator[str]:
    """Give the path of the ONNX graph that this run wrote, or of one that is gone afterwards."""
    if "onnx" in args.formats:
        yield os.path.join(args.output, FORMATS["onnx"])
        return
    with tempfile.TemporaryDirectory(dir=args.output) as folder:
        path = os.path.join(folder, FORMATS["onnx"])
        export_onnx(predictor.model, path, tuple(args.fixed_size) if args.fixed_size else None)
        yield path


def calibration_inputs(predictor: Predictor, args: argparse.Namespace) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the inputs that int8 takes ranges from."""
    if args.precision != "int8":
        return []
    images = load_images(predictor, args.calibration, tuple(args.fixed_size) if args.fixed_size else None)
    least = least_size(predictor.model, args)
    return [pad_images([image], least) for image in images[:MOST_CALIBRATION]]


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse what would fail only after minutes.

    Raises:
        ModuleNotFoundError: a package that a format needs is not installed.
        ValueError: a precision lacks the images that it needs, or belongs to no format.
    """
    if "onnx" in args.formats or "openvino" in args.formats:
        require_onnx()
    if "openvino" in args.formats:
        require_openvino(args.precision)
        args.formats.sort(key=list(FORMATS).index)  # it reads the graph of ONNX
    elif args.precision != "float32":
        raise ValueError(f"--precision {args.precision} is one of OpenVINO: give --formats openvino")
    if args.precision != "float32" and not args.images:
        raise ValueError(
            f"--precision {args.precision} is checked by what is detected, so it needs pictures of the data set: give "
            "--images"
        )
    if args.precision == "int8" and not args.calibration:
        raise ValueError("--precision int8 takes the ranges of activations from pictures: give --calibration FOLDER")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 1 if a check failed."""
    args = parse_arguments(argv)
    setup_logger(name="querydet")
    check_arguments(args)
    os.makedirs(args.output, exist_ok=True)
    if args.ema:
        check_exists(args.weights)
        find_weights(read_checkpoint(args.weights), args.weights, ema=True)  # refuses a file without
    overrides = [*args.overrides, f"train.ema.enabled={args.ema}"]
    with Steps(1 + 2 * len(args.formats) - ("checkpoint" in args.formats), logger) as steps:
        steps.begin("load the model")
        predictor = Predictor(args.config_file, args.weights, overrides=overrides, device="cpu")
        return export(predictor, args, steps)


def export(predictor: Predictor, args: argparse.Namespace, steps: Steps) -> int:
    """Write and check all formats; return the exit status."""
    images = load_images(predictor, args.images, tuple(args.fixed_size) if args.fixed_size else None)
    facts = describe(predictor, args)
    try:
        for kind in args.formats:
            path = os.path.join(args.output, FORMATS[kind])
            steps.begin(f"write {FORMATS[kind]}")
            run = write(kind, path, predictor, args)
            logger.info("wrote %s, %.1f MB", path, size_of(path) / 1e6)
            if run is not None:
                steps.begin(f"check {FORMATS[kind]}")
                reduced = kind == "openvino" and args.precision != "float32"
                compare = check_detections if reduced else check
                facts["checked"][kind] = compare(path, predictor.model, run, images, args)
    except ValueError as error:
        logger.error("%s", error)
        return 1
    finally:
        with atomic_write(os.path.join(args.output, "export.json")) as file:
            file.write(json.dumps(facts, indent=2).encode())
    return 0


def size_of(path: str) -> int:
    """Return the bytes of a file, with the weights that OpenVINO writes beside it."""
    weights = os.path.splitext(path)[0] + ".bin"
    return os.path.getsize(path) + (os.path.getsize(weights) if path.endswith(".xml") else 0)
