"""Turn a trained detector into one that computes in 8 bit on a CPU, without training.

    querydet quantize --config-file CONFIG --weights model_final.pth --output model_int8.pth

Some images of the config's training data, or of --data, show which numbers the layers get. querydet predict, querydet
eval and Predictor take the file as weights. docs/quantization.md says what it costs and gains.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser, positive
from querydet.quantization.defaults import FLOAT, OBSERVER_NAMES

_KEEP = "beginnings of the names of layers that stay in floating point (default: %(default)s)"


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("quantize", __doc__)
    parser.add_argument("--config-file", required=True, help="the config that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint to load")
    parser.add_argument("--output", required=True, help="file to write, such as model_int8.pth")
    parser.add_argument("--images", type=positive, default=64, help="number of images (default %(default)s)")
    parser.add_argument("--data", nargs="+", default=[], help="images and folders; default: the training data")
    parser.add_argument("--observer", choices=OBSERVER_NAMES, default="minmax", help="default: %(default)s")
    parser.add_argument("--keep-float", nargs="*", default=list(FLOAT), metavar="LAYER", help=_KEEP)
    parser.add_argument("--ema", action="store_true", help="take the moving average of the weights")
    parser.add_argument("overrides", nargs="*", help="changes of the config")
    return parser.parse_args(argv)
