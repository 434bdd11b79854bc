"""Print parameters, FLOPs and activations of the models of configs, beside published numbers, and time their parts.

    querydet analyze projects/dino/configs/dino_r50_4scale_12ep.py
    querydet analyze projects/dino/configs/*.py --size 800x1066 --size 800x1333 model.num_classes=91
    querydet analyze CONFIG... --json benchmarks/results/model_facts.json model.num_classes=91

    querydet analyze CONFIG --time inference training --batch-size 2 --repeats 20 train.device=cuda

CONFIG is a config file, the name of a shipped one, or a name of the model zoo. Counting needs neither weights nor data
nor a GPU, and no memory for the model: seconds, for any size. The released models have 91 classes, so that
model.num_classes=91 gives their exact parameter counts; overrides apply to every config.

--time runs the model on noise of the first --size, on train.device, and prints the median milliseconds of each part
(DETA, table 2), the peak memory, and in training what is kept for the backward pass. Times of suppression and of the
assignment depend on the predictions: name a checkpoint by --weights for those of a trained model.

Activations are elements that convolutions, linear layers and matrix products put out, as fvcore counts them.
Columns of the last table, all for inference on one image:
  GFLOPs       2 per multiply-add of convolutions, linear layers and matrix products (PyTorch's FlopCounterMode)
  + operator   the same with the sampling core of deformable attention: 5 multiply-adds per sampled point and channel
  official     GFLOPs counted in the same way on the released code, which reads out all decoder layers
  multiply-adds, + element-wise
               1 per multiply-add, as papers count, and with the element-wise work of the rules of DINO's benchmark
  paper        the printed number, an average over COCO images: compare it to the range of 800x1066 and 800x1333
"""

import argparse
import fnmatch
import json
import re
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
from querydet.cli.model_tables import Facts, flop_table, parameter_table, part_table, time_table
from querydet.cli.options import command_parser, positive
from querydet.config import config_root, find_config
from querydet.inference.predictor import find_model
from querydet.utils.provenance import provenance

PUBLISHED = "benchmarks/published/model_facts.json"  # beside the configs, in a checkout and in an installation


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``items`` is split into ``configs`` and ``overrides``."""
    parser = command_parser("analyze", __doc__)
    parser.add_argument("items", nargs="+", metavar="CONFIG|key=value", help="config files, and changes to all of them")
    parser.add_argument(
        "--size", action="append", metavar="HxW", help="image size, height first; repeat for more (default 800x1066)"
    )
    timed = parser.add_argument_group("times and memory")
    modes = ("inference", "training")
    timed.add_argument("--time", nargs="+", choices=modes, default=[], help="also run the model, and time its parts")
    timed.add_argument("--batch-size", type=positive, default=1, help="images (default %(default)s)")
    timed.add_argument("--objects", type=positive, default=10, help="of an image in training (default %(default)s)")
    timed.add_argument("--repeats", type=positive, default=10, help="for the medians (default %(default)s)")
    timed.add_argument("--warmup", type=int, default=2, help="runs that do not count (default %(default)s)")
    timed.add_argument("--weights", help="checkpoint to load; default: random weights")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers, and what made them, to this file")
    args = parser.parse_intermixed_args(argv)
    args.configs = [item for item in args.items if "=" not in item]
    args.overrides = [item for item in args.items if "=" in item]
    if args.warmup < 0:
        parser.error(f"--warmup must be at least 0, found {args.warmup}")
    args.size = args.size or ["800x1066"]
    if not args.configs:
        parser.error("name at least one config file")
    for size in args.size:
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", size):
            parser.error(f"--size must be height x width such as 800x1066, found '{size}'")
    return args


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
