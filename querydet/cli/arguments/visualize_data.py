"""Draw the training data of a config as the model gets it, the first samples after augmentation, and count objects.

    querydet visualize data --config-file CONFIG --output batch.png

CONFIG is a config file, the name of a shipped one (one with only data will do), or a name of the model zoo.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("visualize data", __doc__)
    parser.add_argument("--config-file", required=True, help="a config with a dataloader")
    parser.add_argument("--output", required=True, help="the PNG file")
    parser.add_argument("--num-images", type=int, default=16, help="samples to draw (default %(default)s)")
    parser.add_argument("overrides", nargs="*", help="changes of the config, such as train.seed=1")
    args = parser.parse_args(argv)
    if args.num_images < 1:
        parser.error("--num-images must be at least 1")
    return args
