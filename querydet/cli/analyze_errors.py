"""``querydet errors``, whose options are in `querydet.cli.arguments.analyze_errors`."""

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from querydet.cli.arguments.analyze_errors import parse_arguments
from querydet.config import load_config
from querydet.data import load_coco
from querydet.data.catalog import DetectionDataset, need_annotations
from querydet.data.validation_set import load_test_data, with_masks
from querydet.evaluation.error_analysis import Settings, analyze_errors
from querydet.evaluation.error_costs import SPECIAL
from querydet.evaluation.errors import ERRORS
from querydet.evaluation.image_detections import masks_of_images
from querydet.evaluation.results_file import find_results, read_detections, read_results
from querydet.utils.atomic import atomic_write
from querydet.utils.progress import ProgressBar
from querydet.utils.run_lengths import RunLengths
from querydet.visualization.error_figures import COLORS, draw_confusion, draw_costs, draw_precision, draw_worst
from querydet.visualization.figures import save_figure
from querydet.visualization.grids import save_grid


def load_dataset(args: argparse.Namespace, results: str) -> tuple[DetectionDataset, Any]:
    """Load the data set that the results belong to, and return it and its mapper's node in the config if there is one.

    Raises:
        ValueError: neither the options nor a config.yaml beside the results name one.
    """
    masks = args.iou_type == "segm"
    if args.annotations:
        return load_coco(args.annotations, args.images or "", check_files=bool(args.images), masks=masks), None
    config = args.config_file
    folder = os.path.dirname(os.path.abspath(results))
    for candidate in (folder, os.path.dirname(folder)):
        path = os.path.join(candidate, "config.yaml")
        config = config or (path if os.path.isfile(path) else None)
    if config is None:
        raise ValueError(f"no config.yaml beside {results}: give --config-file, or --annotations and --images")
    cfg = load_config(config, args.overrides)
    dataset = load_test_data(with_masks(cfg) if masks else cfg)
    need_annotations(dataset, "the analysis of errors")
    return dataset, cfg.dataloader.test.get("mapper")


def read_masks(path: str, dataset: DetectionDataset) -> tuple[dict[Any, np.ndarray], dict[Any, Sequence[RunLengths]]]:
    """Read a results file, and return detections and their masks by image id.

    Raises:
        ValueError: it has no masks.
    """
    detections = read_detections(path, dataset)
    masks = masks_of_images(detections)
    if detections and masks is None:
        raise ValueError(
            f"{path} has no masks (segmentation): it is of a detector that makes none, or was written without them; "
            "compare boxes with --iou-type bbox"
        )
    return {image_id: image.rows for image_id, image in detections.items()}, dict(masks or {})


def tables(analysis: dict[str, Any], shown: int = 20) -> str:
    """Return the analysis as text tables.

    Args:
        analysis: from `querydet.evaluation.error_analysis.analyze_errors`.
        shown: largest number of classes in the table by class, those of the lowest AP first.
    """
    sizes = analysis["sizes"]
    rows = [("AP", *(numbers["AP"] for numbers in sizes.values()))]
    rows += [(f"+ {name}", *(numbers["gain"][name] for numbers in sizes.values())) for name in (*ERRORS, *SPECIAL)]
    counts = [("objects", *(numbers["objects"] for numbers in sizes.values()))]
    counts += [("detections", *(numbers["detections"] for numbers in sizes.values()))]
    counts += [(name, *(numbers["counts"][name] for numbers in sizes.values())) for name in ERRORS]
    classes = [(name, numbers) for name, numbers in analysis["classes"].items() if numbers["objects"]]
    classes.sort(key=_ap_of)
    by_class = [
        (name, numbers["objects"], numbers["AP"], *(numbers["gain"][error] for error in ERRORS))
        for name, numbers in classes[:shown]
    ]
    more = f", the worst {shown} of {len(classes)}" if len(classes) > shown else ""
    threshold = analysis["settings"]["positive"]
    return "\n\n".join(
        (
            f"AP at IoU {threshold:g}, and what it gains without one kind of error (-1: no objects):\n"
            + tabulate(rows, headers=("", *sizes), floatfmt=".2f"),
            "How many:\n" + tabulate(counts, headers=("", *sizes)),
            f"By class{more}:\n" + tabulate(by_class, headers=("", "objects", "AP", *ERRORS), floatfmt=".2f"),
        )
    )


def _ap_of(pair: tuple[str, dict[str, Any]]) -> float:
    return pair[1]["AP"]


def _progress(images: Iterable[Any]) -> Iterable[Any]:
    return ProgressBar(images, desc="images", disable=None, leave=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_arguments(argv)
    settings = Settings(
        positive=args.iou,
        background=args.background_iou,
        min_score=args.min_score,
        max_dets=args.max_dets,
        worst=args.worst,
    )
    path = find_results(args.results)
    dataset, mapper = load_dataset(args, path)
    rows, masks = read_masks(path, dataset) if args.iou_type == "segm" else (read_results(path, dataset), None)
    analysis = analyze_errors(dataset, rows, settings, _progress, masks)
    print(tables(analysis))
    folder = args.output or os.path.join(os.path.dirname(os.path.abspath(path)), "errors")
    os.makedirs(folder, exist_ok=True)
    written = [os.path.join(folder, name) for name in ("errors.json", "costs.png", "precision.png", "confusion.png")]
    with atomic_write(written[0]) as file:
        file.write(json.dumps({"results": path, **analysis}, indent=1).encode())
    for name, draw in zip(written[1:], (draw_costs, draw_precision, draw_confusion), strict=True):
        save_figure(draw(analysis), name)
    if analysis["worst"] and not (args.annotations and not args.images):
        written.append(os.path.join(folder, "worst.png"))
        save_grid(draw_worst(analysis, dataset, rows, settings, mapper, masks), written[-1], legend=COLORS)
    print("\n" + "\n".join(f"wrote {name}" for name in written))
    return 0
