r"""Draw the references, sampling points, candidates or denoising queries of a model on images, as one PNG.

    querydet visualize model references --config-file CONFIG --weights model_final.pth --output moves.png
    querydet visualize model sampling   --config-file CONFIG --weights model_final.pth --output points.png \
        --input street.jpg --layer 6 --head 0
    querydet visualize model candidates --config-file CONFIG --weights model_final.pth --output top.png --index 3
    querydet visualize model denoising  --config-file CONFIG --output noise.png

CONFIG is a config file, the name of a shipped one, or a name of the model zoo, which brings its weights.
"COMMAND --help" explains each picture. key=value changes the config, such as train.device=cpu.
"""

import argparse
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from querydet.cli.options import command_parser, positive, split_overrides
from querydet.data import class_names
from querydet.data.catalog import DetectionDataset, check_num_classes
from querydet.engine import build_model
from querydet.evaluation.candidates import ALPHA, COUNT, check_ranking, rank_candidates
from querydet.evaluation.per_image import image_truth
from querydet.inference.predictor import Predictor, find_model
from querydet.utils.lazy import instantiate
from querydet.utils.progress import ProgressBar
from querydet.visualization import Panel, save_grid
from querydet.visualization.candidate_pictures import candidate_panels
from querydet.visualization.denoising_pictures import LEGEND, denoising_panels
from querydet.visualization.drawing import instances_of_record
from querydet.visualization.inspection import Inspection, inspect_image
from querydet.visualization.query_pictures import (
    describe,
    draw_references,
    draw_sampling,
    layer_colors,
    level_colors,
    reference_legend,
)

ABOUT = {
    "references": "The box of a query into every decoder layer and its last prediction, dark to bright, and the way of "
    "its centre. Annotated objects are white and dotted. Without --query: the queries of the best detections.",
    "sampling": "The points that a query samples in a decoder layer: a colour for each feature level, larger and more "
    "opaque for larger attention weights. The reference that the layer samples around is white.",
    "candidates": "The queries that could have been chosen for an object, ranked by IoU or with --alpha by MS-DETR's "
    "matching score, and both by rank (arXiv 2401.03989, figure 7). A data set with annotations is needed.",
    "denoising": "Denoising queries of a training batch beside the objects that they were made from: positive ones "
    "green, negative ones red; a label that was replaced is written at the box. Needs training data, but no weights.",
}


@dataclass(frozen=True)
class Shown:
    """An image to draw on."""

    image: np.ndarray  # (H, W, 3), RGB, uint8
    title: str
    record: dict[str, Any] | None = None  # of the data set, where it is from one


class Images:
    """The images that the command line chose, and the model.

    Args:
        args: from `parse_arguments`.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self.predictor = Predictor(args.config_file, args.weights, overrides=args.overrides)

    @cached_property
    def dataset(self) -> DetectionDataset:
        """The config's test data.

        Raises:
            ValueError: it has another number of classes than the model.
        """
        dataset = self.predictor.load_test_data()
        check_num_classes(len(self.predictor.class_names), dataset)
        return dataset

    def __iter__(self) -> Any:
        """Read the images, with progress."""
        chosen: Sequence[Any] = self._args.input or self._args.index
        for item in ProgressBar(chosen, desc="images", disable=len(chosen) < 3):
            yield (
                Shown(self.predictor.read(item), os.path.basename(item)) if self._args.input else self._of_dataset(item)
            )

    def _of_dataset(self, index: int) -> Shown:
        if not 0 <= index < len(self.dataset):
            raise ValueError(f"there is no image {index}: the test data has 0 to {len(self.dataset) - 1}")
        record = self.dataset[index]
        return Shown(self.predictor.read_record(record), os.path.basename(record["file_name"]), record)

    def inspect(self, shown: Shown) -> Inspection:
        """Run the model on an image and record its queries."""
        return inspect_image(self.predictor.model, self.predictor.prepare(shown.image))


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("visualize model", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parts = {}
    for name, about in ABOUT.items():
        part = parts[name] = commands.add_parser(name, description=about, help=about.split(". ")[0])
        part.add_argument("--config-file", required=True, help="config of the model, or a name of the model zoo")
        part.add_argument("--weights", help="checkpoint to load; not needed with a name of the zoo, nor for denoising")
        part.add_argument("--output", required=True, help="the PNG file")
        part.add_argument("--columns", type=positive, default=4, help="panels of a row (default %(default)s)")
    for name in ("references", "sampling", "candidates"):
        if name != "candidates":
            parts[name].add_argument("--input", nargs="+", default=[], metavar="FILE", help="images; default: --index")
            parts[name].add_argument("--query", nargs="+", type=int, default=[], help="which queries, counted from 0")
            parts[name].add_argument(
                "--top", type=positive, default=4, help="... or so many best (default %(default)s)"
            )
        parts[name].add_argument(
            "--index", nargs="+", type=int, default=[0], help="images of the test data, counted from 0 (default 0)"
        )
    counted = "counted from 1; default: "
    part = parts["sampling"]
    part.add_argument("--layer", nargs="+", type=int, default=[], help=f"decoder layers, {counted}each")
    part.add_argument("--zoom", type=float, help="show so many sizes of the reference around it; default: the image")
    part.add_argument("--head", nargs="+", type=int, default=[], help="heads, from 0; default: all together")
    parts["candidates"].add_argument("--layer", type=int, help=f"decoder layer, {counted}the last")
    parts["candidates"].add_argument("--object", nargs="+", type=int, default=[], help="which, from 0; default: all")
    parts["candidates"].add_argument("--count", type=int, default=COUNT, help="of an object (default %(default)s)")
    parts["candidates"].add_argument(
        "--alpha", type=float, default=ALPHA, help="weight of the score beside the IoU (default %(default)s)"
    )
    parts["denoising"].add_argument("--object", nargs="+", type=int, default=[], help="which, from 0; default: all")
    parts["denoising"].add_argument("--num-images", type=positive, default=2, help="default %(default)s")
    parts["denoising"].add_argument(
        "--repetitions", type=positive, default=2, help="at most so many of each image (default %(default)s)"
    )
    parts["sampling"].set_defaults(columns=None)
    given, overrides = split_overrides(argv)
    args = parser.parse_args(given)
    args.overrides = overrides
    return args


def references(args: argparse.Namespace) -> tuple[list[Panel], dict[str, Any]]:
    """Return panels of the boxes of queries from layer to layer, and the legend of colours."""
    images, panels, legend = Images(args), [], {}
    for shown in images:
        found = images.inspect(shown)
        objects = None if shown.record is None else instances_of_record(shown.record).gt_boxes.tensor.numpy()
        for query in args.query or found.best_queries(args.top):
            picture = draw_references(shown.image, found, query, objects)
            panels.append(Panel(picture, f"{shown.title}: {describe(found, query, images.predictor.class_names)}"))
        legend = reference_legend(found)
    return panels, legend


def sampling(args: argparse.Namespace) -> tuple[list[Panel], dict[str, Any]]:
    """Return panels of sampling points, a row of layers for each query, and the legend of colours."""
    images, panels, legend = Images(args), [], {}
    for shown in images:
        found = images.inspect(shown)
        layers = [found.check_layer(layer) for layer in args.layer] or list(range(found.num_layers))
        args.columns = args.columns or len(layers)
        heads = f"head {', '.join(map(str, args.head))}" if args.head else "all heads"
        for query in args.query or found.best_queries(args.top):
            for layer in layers:
                picture = draw_sampling(shown.image, found, query, layer, args.head, args.zoom)
                title = f"{shown.title}: {describe(found, query, images.predictor.class_names)}"
                panels.append(Panel(picture, f"{title}\nlayer {layer + 1}, {heads}"))
        levels = found.sampled(0).weights.shape[2]
        legend = {f"level {level}": color for level, color in enumerate(level_colors(levels))}
    return panels, legend


def candidates(args: argparse.Namespace) -> tuple[list[Panel], dict[str, Any]]:
    """Return panels of the candidates of objects, and the legend of colours."""
    check_ranking(args.count, args.alpha)
    args.input = []
    images, panels = Images(args), []
    for shown in images:
        found = images.inspect(shown)
        layer = -1 if args.layer is None else found.check_layer(args.layer)
        assert shown.record is not None
        truth = image_truth(shown.record).objects()
        if not len(truth) and len(args.index) > 1:
            panels.append(Panel(shown.image, f"{shown.title}: no annotated objects"))
            continue
        ranked = rank_candidates(found.record, truth, count=args.count, alpha=args.alpha, layer=layer)
        names = class_names(images.dataset)
        made = candidate_panels(shown.image, found.record, truth, ranked, names, objects=args.object, layer=layer)
        panels += [Panel(panel.image, f"{shown.title}\n{panel.title}") for panel in made]
    colors = layer_colors(args.count)
    return panels, {"object": (0.75, 0.75, 0.75), "best candidate": colors[-1], "last candidate": colors[0]}


def denoising(args: argparse.Namespace) -> tuple[list[Panel], dict[str, Any]]:
    """Return panels of denoising queries, and the legend of colours."""
    cfg, _ = find_model(args.config_file, args.weights or "", args.overrides)
    node = cfg.dataloader.train
    dataset = instantiate(node.dataset)
    loader = instantiate({**node, "dataset": dataset, "num_workers": 0, "seed": cfg.train.seed})
    samples = list(itertools.islice(itertools.chain.from_iterable(loader), args.num_images))
    channels = node.mapper.get("image_format", "RGB")
    model: Any = build_model(cfg)
    panels = denoising_panels(model, samples, class_names(dataset), channels, args.repetitions, args.object)
    return panels, LEGEND


COMMANDS: dict[str, Callable[[argparse.Namespace], tuple[list[Panel], dict[str, Any]]]] = {
    "references": references,
    "sampling": sampling,
    "candidates": candidates,
    "denoising": denoising,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_arguments(argv)
    panels, legend = COMMANDS[args.command](args)
    save_grid(panels, args.output, columns=args.columns, legend=legend)
    print(f"wrote {args.output}")
    return 0
