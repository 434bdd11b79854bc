"""``querydet groups``, whose options are in `querydet.cli.arguments.explain_groups`."""

import argparse
import json
import os
import statistics
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from querydet.cli.arguments.explain_groups import parse_arguments
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
