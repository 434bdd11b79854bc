"""``querydet visualize data``, whose options are in `querydet.cli.arguments.visualize_data`."""

import collections
import itertools
import os
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from querydet import model_zoo
from querydet.cli.arguments.visualize_data import parse_arguments
from querydet.config import apply_overrides, get_config
from querydet.data import class_names
from querydet.utils.lazy import instantiate
from querydet.visualization import draw_batch


def count_table(dataset: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Return counts of images, of images without objects and of the objects of every class as a text table."""
    objects = [item for record in dataset for item in record["annotations"]]
    counts = collections.Counter(item["category_id"] for item in objects if not item["iscrowd"])
    rows = [("images", len(dataset)), ("images without objects", sum(not record["annotations"] for record in dataset))]
    rows += [(name, counts[index]) for index, name in enumerate(names)]
    rows.append(("crowd regions", sum(item["iscrowd"] for item in objects)))
    return tabulate(rows, headers=("what", "count"), tablefmt="pipe")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_arguments(argv)
    is_file = bool(os.path.splitext(args.config_file)[1])
    cfg = get_config(args.config_file) if is_file else model_zoo.get_config(args.config_file)
    apply_overrides(cfg, args.overrides)
    node = cfg.dataloader.train
    seed = {"seed": cfg.train.seed} if "train" in cfg else {}  # as the engine does
    dataset = instantiate(node.dataset)
    names = class_names(dataset)
    print(count_table(dataset, names))
    loader = instantiate({**node, "dataset": dataset, "num_workers": 0, **seed})
    samples = itertools.chain.from_iterable(loader)
    draw_batch(
        list(itertools.islice(samples, args.num_images)), names, args.output, node.mapper.get("image_format", "RGB")
    )
    print(f"wrote {args.output}")
    return 0
