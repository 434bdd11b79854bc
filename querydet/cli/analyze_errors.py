"""Analyse the errors in a detector's results: how many there are of each kind, and the AP that each kind costs.

    querydet errors RUN                                    # a run's folder: its results, its test set
    querydet errors results.json --config-file CONFIG [key=value ...]
    querydet errors results.json --annotations val.json --images val/
    querydet errors RUN --iou-type segm                    # compares masks

RESULTS is a file in COCO's results format, a list of image_id, category_id, bbox (x, y, width, height) and score, or
the folder of a run that has one (coco_instances_results.json, there or in inference/). An evaluation writes it when
dataloader.evaluator.output_dir names a folder. CONFIG is a LazyConfig file, a run's config.yaml, or the name of a
config that comes with querydet.

Every detection that is not right has one of TIDE's errors (arXiv 2008.08115, section 2), with the best IoU that it
reaches:

    localisation    the right class, but a poor box (IoU between 0.1 and 0.5)
    classification  a good box (IoU of at least 0.5), but the wrong class
    both            a poor box and the wrong class
    duplicate       right, but a better detection has found the object
    background      no object is there (IoU of at most 0.1)
    missed          an object that nothing found and that no better box or class would find

With --iou-type segm, the IoU and the size of a detection are those of its mask. The results need masks then
(segmentation, as run lengths), and so does the data set.

The cost of a kind is the AP that would be gained without it. Written to the output folder: errors.json with everything
(all sizes and classes, precision over recall, the confusion matrix, the worst images), and the pictures costs.png,
precision.png, confusion.png and worst.png.
"""

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from querydet.cli.options import command_parser
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


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = command_parser("errors", __doc__)
    parser.add_argument("results", metavar="RESULTS", help="a results file, or the folder of a run")
    parser.add_argument("--config-file", help="whose test set the results are of (default: the run's config.yaml)")
    parser.add_argument("--annotations", help="instead of a config: a COCO json")
    parser.add_argument("--images", help="and its folder of images; without it no images are drawn")
    parser.add_argument("--output", help="folder to write to (default: errors/ beside the results file)")
    parser.add_argument(
        "--iou-type", choices=("bbox", "segm"), default="bbox", help="compare boxes or masks (default %(default)s)"
    )
    parser.add_argument(
        "--iou", type=float, default=0.5, help="IoU from which a detection has found an object (default %(default)s)"
    )
    parser.add_argument(
        "--background-iou", type=float, default=0.1, help="IoU up to which none is there (default %(default)s)"
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.3,
        help="smallest score in the confusion matrix and the worst images; AP and costs take all (default %(default)s)",
    )
    parser.add_argument(
        "--max-dets", type=int, default=100, help="detections of an image and class that count (default %(default)s)"
    )
    parser.add_argument("--worst", type=int, default=12, help="images to draw, 0 for none (default %(default)s)")
    parser.add_argument("overrides", nargs="*", help="changes of the config")
    return parser


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
    parser = argument_parser()
    args = parser.parse_intermixed_args(argv)  # changes of the config may stand behind the options
    if args.annotations and (args.config_file or args.overrides):
        parser.error("give --config-file or --annotations, not both")
    if args.images and not args.annotations:
        parser.error("--images belongs to --annotations; with a config set dataloader.test.dataset.images=...")
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
