"""``querydet analyze``, whose options are in `querydet.cli.arguments.analyze_model`."""

import argparse
import fnmatch
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from querydet import model_zoo
from querydet.analysis.activation_memory import count_activations
from querydet.analysis.flops import build_on_meta, count_flops, count_parameters
from querydet.analysis.measure import Measured, measure
from querydet.cli.arguments.analyze_model import parse_arguments
from querydet.cli.model_tables import Facts, flop_table, parameter_table, part_table, time_table
from querydet.config import config_root, find_config
from querydet.inference.predictor import find_model
from querydet.utils.provenance import provenance

PUBLISHED = "benchmarks/published/model_facts.json"  # beside the configs, in a checkout and in an installation


def shipped_name(config: str) -> str:
    """Return the path of a config or of a model's recipe, relative to the project, or as given outside of it."""
    if not Path(config).suffix:
        config = model_zoo.get_entry(config).config
    path = Path(find_config(config)).resolve()
    root = config_root().resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else config


def read_published() -> list[dict[str, Any]]:
    """Return the published numbers of all models; none where the project's file of them is missing."""
    path = config_root() / PUBLISHED
    return json.loads(path.read_text())["models"] if path.is_file() else []


def find_published(name: str, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the published numbers for a config; empty if there are none."""
    return next((entry for entry in entries if any(fnmatch.fnmatch(name, glob) for glob in entry["configs"])), {})


class ModelCounter:
    """Counts models; one that several configs share, such as those of two schedules, is counted once.

    Args:
        sizes: of the image, such as "800x1066".
    """

    def __init__(self, sizes: Sequence[str]) -> None:
        self.shapes = {size: tuple(map(int, size.split("x"))) for size in sizes}
        self._counted: dict[str, Facts] = {}

    def __call__(self, config: str, overrides: Sequence[str], entries: Sequence[dict[str, Any]]) -> Facts:
        """Return the numbers of the model of a config, beside the published ones."""
        cfg, _ = find_model(config, "", overrides)
        key = repr(OmegaConf.to_container(cfg.model, resolve=True))
        if key not in self._counted:
            self._counted[key] = self._count(cfg.model)
        name = shipped_name(config)
        return replace(self._counted[key], config=name, published=find_published(name, entries))

    def _count(self, model_config: DictConfig) -> Facts:
        """Build a model without weights and count."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about deprecated calls in Detectron2, which have no part in counting
            model: Any = build_on_meta(model_config)
            flops = {size: count_flops(model, *shape) for size, shape in self.shapes.items()}
            activations = {size: count_activations(model, *shape) for size, shape in self.shapes.items()}
        return Facts("", model.num_classes, count_parameters(model), flops, activations, {})


def run(config: str, args: argparse.Namespace) -> Measured:
    """Time the model of a config as the command line says."""
    cfg, _ = find_model(config, "", args.overrides)
    height, width = map(int, args.size[0].split("x"))
    return measure(
        cfg,
        (height, width),
        weights=args.weights,
        inference="inference" in args.time,
        training="training" in args.time,
        batch_size=args.batch_size,
        objects=args.objects,
        repeats=args.repeats,
        warmup=args.warmup,
    )


def as_record(facts: Facts) -> dict[str, Any]:
    """Return the numbers of one config for the json file."""
    return {
        "config": facts.config,
        "num_classes": facts.num_classes,
        "parameters": facts.parameters.total,
        "trainable": facts.parameters.trainable,
        "parameters_by_part": {part: total for part, (total, _) in facts.parameters.by_part.items()},
        "flops": {
            size: {
                "total_without_operator": count.without_operator,
                "operator": count.operator,
                "multiply_adds": count.multiply_adds,
                "dino_benchmark": count.dino_benchmark,
                "by_op": count.by_op,
                "activations": facts.activations[size],
                "by_part": {part: count.by_module.get(part, {}) for part in facts.parameters.by_part},
            }
            for size, count in facts.flops.items()
        },
        "published": {
            key: facts.published[key] for key in ("name", "paper", "official_code") if key in facts.published
        },
    }


def write_json(path: str, facts: Sequence[Facts], argv: Sequence[str], timed: Sequence[Measured] = ()) -> None:
    """Write the numbers together with the command, commit, versions, machine and date that made them."""
    record: dict[str, Any] = {
        "about": "Inference on one image; FLOPs are 2 per multiply-add except multiply_adds and dino_benchmark, see "
        "querydet/analysis/flops.py.",
        **provenance(["-m", "querydet", "analyze", *argv]),
        "models": [as_record(one) for one in facts],
    }
    if not timed:
        record["machine"] = "counted from shapes, the same on every machine"
    for one, measured in zip(record["models"], timed, strict=False):
        one["measured"] = asdict(measured)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(record, indent=2) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse_arguments(argv)
    entries = read_published()
    facts, timed = [], []
    count = ModelCounter(args.size)
    for config in args.configs:
        facts.append(count(config, args.overrides, entries))
        print(f"{facts[-1].config}\n\n{part_table(facts[-1])}\n", flush=True)
        if args.time:
            timed.append(run(config, args))
            shape = f"{args.batch_size} x {args.size[0]}"
            print(f"{time_table(timed[-1], shape, args.repeats)}\n", flush=True)
    print(f"{parameter_table(facts)}\n\n{flop_table(facts)}")
    if args.json:
        write_json(args.json, facts, argv, timed)
        print(f"\nwritten to {args.json}")
    return 0
