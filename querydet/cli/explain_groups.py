"""Evaluate and draw the groups of queries of a checkpoint, on any data set (arXiv 2207.13085).

    querydet groups ap --config-file CONFIG --weights model_final.pth --output groups.json
    querydet groups points --config-file CONFIG --weights model_final.pth --output points.png --index 3

"ap" evaluates every group as if inference had kept it (figure 4). "points" draws where the queries of all groups start
that are matched with an object, and their predictions (figure 3). For the stability of the matching over checkpoints
(figure 5) see querydet compare-matching, for the cost of folded attention (figure 7) benchmarks/group_attention.py.
The checkpoint must hold the weights of training: exported ones have only the primary group. key=value changes the
config, such as train.device=cpu.
"""

import argparse
import json
import os
import statistics
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from querydet.cli.options import command_parser, split_overrides
from querydet.data import class_names
from querydet.data.catalog import need_annotations
from querydet.engine.evaluation import combine
from querydet.engine.hooks.matching_stability import training_assigner
from querydet.evaluation.groups import count_groups, evaluate_groups, match_groups, predict_groups
from querydet.evaluation.per_image import image_truth
from querydet.inference.predictor import Predictor, find_model
from querydet.modeling.selection.grouped import group_name
from querydet.utils.atomic import atomic_write
from querydet.utils.lazy import instantiate
from querydet.visualization import Panel, save_grid
from querydet.visualization.drawing import instances_of_record
from querydet.visualization.group_pictures import draw_group_points, group_colors
from querydet.visualization.runs import KINDS


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("groups", __doc__)
    parser.add_argument("command", choices=("ap", "points"))
    parser.add_argument("--config-file", required=True, help="config of the model")
    parser.add_argument("--weights", required=True, help="checkpoint to load")
    parser.add_argument("--output", required=True, help="the json file of ap, the PNG file of points")
    parser.add_argument("--index", type=int, default=0, help="image of the test data, counted from 0 (points)")
    parser.add_argument("--object", nargs="+", type=int, default=[], help="which, from 0; default: all (points)")
    given, overrides = split_overrides(argv)
    args = parser.parse_args(given)
    args.overrides = overrides
    return args


def explain_ap(predictor: Predictor, args: argparse.Namespace) -> None:
    """Evaluate every group, print a table and write all results."""
    model, data = predictor.model, find_model(args.config_file, args.weights, args.overrides)[0].dataloader
    groups = count_groups(model)
    evaluators = [combine(instantiate(data.evaluator)) for _ in range(groups)]
    results = evaluate_groups(model, instantiate(data.test), evaluators)
    shown = [(kind, key) for kind in KINDS for key in KEYS if key in results[0].get(kind, {})]
    rows = [[group_name(group), *(result[kind][key] for kind, key in shown)] for group, result in enumerate(results)]
    print(tabulate(rows, headers=("group", *(KINDS[kind] + key for kind, key in shown)), floatfmt=".2f"))
    values: list[float] = [result["bbox"]["AP"] for result in results]
    print(f"AP {statistics.mean(values):.2f} on average, {min(values):.2f} to {max(values):.2f}")
    os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
    with atomic_write(args.output) as file:
        file.write(json.dumps({group_name(group): result for group, result in enumerate(results)}, indent=1).encode())


def explain_points(predictor: Predictor, args: argparse.Namespace) -> None:
    """Draw the starting points of all groups for objects of an image.

    Raises:
        ValueError: there is no such image or object, or the model is not trained by a one-to-one matching.
    """
    model, dataset = predictor.model, predictor.load_test_data()
    need_annotations(dataset, "the matching of groups")
    names = [group_name(group) for group in range(count_groups(model))]
    if not 0 <= args.index < len(dataset):
        raise ValueError(f"there is no image {args.index}: the test data has 0 to {len(dataset) - 1}")
    assigner = training_assigner(model)
    if assigner is None:
        raise ValueError("the groups of this model are not trained by a one-to-one matching")
    record = dataset[args.index]
    image = predictor.read_record(record)
    matches = match_groups(predict_groups(model, [predictor.prepare(image)]), image_truth(record), assigner)
    objects = instances_of_record(record)
    chosen = args.object or range(len(objects))
    missing = [index for index in chosen if not 0 <= index < len(objects)]
    if missing or not len(objects):
        raise ValueError(f"there is no object {missing[0] if missing else 0}: the image has {len(objects)}")
    labels, panels = class_names(dataset), []
    for index in chosen:
        box = objects.gt_boxes.tensor[index].tolist()
        title = f"object {index}, {labels[int(objects.gt_classes[index])]}: {len(matches[index])} groups"
        panels.append(Panel(draw_group_points(image, matches[index], names, box), title))
    colors: dict[str, Any] = dict(zip(names, group_colors(len(names)), strict=True))
    save_grid(panels, args.output, legend=colors)


KEYS = ("AP", "AP50", "AP75")
COMMANDS = {"ap": explain_ap, "points": explain_points}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_arguments(argv)
    predictor = Predictor(args.config_file, args.weights, overrides=args.overrides)
    COMMANDS[args.command](predictor, args)
    print(f"wrote {args.output}")
    return 0
