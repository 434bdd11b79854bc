"""Print a config as YAML, with interpolations resolved and overrides applied.

    querydet config dino_r50_4scale_12ep                            # a recipe, by its name
    querydet config dino/configs/dino_r50_4scale_12ep.py model.num_classes=3
    querydet config common/models/dino.py --key model.criterion     # a part of a composition
    querydet config output/mine/config.yaml --unresolved            # a run, ${...} as written

NAME is a path, the folder of a run, the name of a shipped config file, its last part without .py, or a name of the
model zoo. The output of a complete config is a config file itself. Overrides are checked as in training: a key has to
exist.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser, split_overrides


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("config", __doc__)
    parser.add_argument("name", metavar="NAME", help="config to print; key=value behind it changes it")
    parser.add_argument("--key", metavar="KEY", help="print only this node, such as model.criterion")
    parser.add_argument("--unresolved", action="store_true", help="leave interpolations such as ${model.num_classes}")
    given, overrides = split_overrides(argv)
    args = parser.parse_args(given)
    args.overrides = overrides
    return args
