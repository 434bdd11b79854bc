"""``querydet visualize model``, whose options are in `querydet.cli.arguments.visualize_model`."""

import argparse
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from querydet.cli.arguments.visualize_model import parse_arguments
from querydet.data import class_names
from querydet.data.catalog import DetectionDataset, check_num_classes
from querydet.engine import build_model
from querydet.evaluation.candidates import check_ranking, rank_candidates
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
