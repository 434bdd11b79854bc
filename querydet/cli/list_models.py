"""``querydet zoo``, whose options are in `querydet.cli.arguments.list_models`."""

import sys
from collections.abc import Sequence

from tabulate import tabulate

from querydet import model_zoo
from querydet.cli.arguments.list_models import make_parser, parse_arguments
from querydet.model_zoo.published import MASKS, describe_precisions, weights_precision


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 1 for weights that cannot be downloaded, 2 for an unknown name."""
    args = parse_arguments(argv)
    if args.name is None:
        print(list_models())
        return 0
    try:
        print(describe_model(args.name))
    except KeyError as error:
        make_parser().error(error.args[0])
    if args.download:
        try:
            print(f"file: {model_zoo.get_checkpoint_file(args.name)}")
        except (OSError, ValueError) as error:
            print(f"querydet zoo: {error}", file=sys.stderr)
            return 1
    return 0


def list_models() -> str:
    """Return a table of all published models."""
    entries = map(model_zoo.get_entry, model_zoo.names())
    rows = [(entry.name, weights_precision(entry.name), entry.layout, entry.config) for entry in entries]
    return tabulate(rows, headers=("name", "AP", "layout", "config"), disable_numparse=True)


def describe_model(name: str) -> str:
    """Return config, published AP and origin of the weights of a model.

    Raises:
        KeyError: there is no such model; the message has the nearest names.
    """
    entry = model_zoo.get_entry(name)
    lines = {
        "name": entry.name,
        "config": " ".join([entry.config, *entry.overrides]),
        "AP on COCO val2017, as published with the weights": weights_precision(entry.name),
        "published AP of the recipe": describe_precisions(entry.recipe),
        "published mask AP of the recipe": describe_precisions(entry.recipe, MASKS),
        "weights": model_zoo.get_checkpoint_url(name),
        "published by": entry.publisher,
        "sha256": entry.sha256 or "not published",
    }
    return "\n".join(f"{key}: {value}" for key, value in lines.items())
