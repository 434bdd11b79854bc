"""List the published models, whose names stand for a config and its weights in querydet demo and querydet visualize.

querydet zoo                                    # all of them
querydet zoo dino_r50_4scale_12ep               # one
querydet zoo dino_r50_4scale_12ep --download    # also download, verify and convert its weights

Everywhere else the weights are querydet://NAME, as --weights or train.init_checkpoint, beside the config's file.
"""

import sys
from collections.abc import Sequence

from tabulate import tabulate

from querydet import model_zoo
from querydet.cli.options import command_parser
from querydet.model_zoo.published import MASKS, describe_precisions, weights_precision


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 1 for weights that cannot be downloaded, 2 for an unknown name."""
    parser = command_parser("zoo", __doc__)
    parser.add_argument("name", nargs="?", help="a model; default: list all")
    parser.add_argument("--download", action="store_true", help="print the local file of its converted weights")
    args = parser.parse_args(argv)
    if args.name is None:
        if args.download:
            parser.error("--download needs the name of a model")
        print(list_models())
        return 0
    try:
        print(describe_model(args.name))
    except KeyError as error:
        parser.error(error.args[0])
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
