"""Draw ground truth beside predictions for images of the config's test data, as one PNG.

    querydet visualize predictions --config-file CONFIG --weights model_final.pth --output predictions.png

CONFIG is a config file, the name of a shipped one, or a name of the model zoo, which brings its weights.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("visualize predictions", __doc__)
    parser.add_argument("--config-file", required=True, help="the config that the model was trained with")
    parser.add_argument("--weights", help="checkpoint to load; not needed with a name of the model zoo")
    parser.add_argument("--output", required=True, help="the PNG file")
    parser.add_argument("--num-images", type=int, default=8, help="images, spread over the data (default %(default)s)")
    parser.add_argument("--threshold", type=float, default=0.3, help="smallest score to draw (default %(default)s)")
    parser.add_argument("overrides", nargs="*", help="changes of the config, such as train.device=cpu")
    args = parser.parse_args(argv)
    if args.num_images < 1 or not 0 <= args.threshold <= 1:
        parser.error("--num-images must be at least 1 and --threshold in [0, 1]")
    return args
