"""Export a trained detector for programs without the training code, and compare the files with the detector.

    querydet export --config-file CONFIG --weights model_final.pth --output exported/

* ``model.pth``: a checkpoint of the weights that inference needs, without optimizer and training parts.
* ``model.pt2``: a program of torch.export for batches and images of any size, which runs without this package.
* ``model.onnx``: the same as an ONNX graph of standard operators.
* ``export.json``: class names, channel order, the least image side, versions, and what the checks measured.

The program and the graph are run on single images and on a batch of unequal sizes, and compared with the detector.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser

FORMATS = {"checkpoint": "model.pth", "torch": "model.pt2", "onnx": "model.onnx"}


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("export", __doc__)
    parser.add_argument("--config-file", required=True, help="the config that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint to load")
    parser.add_argument("--output", required=True, help="folder to write to")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS), help="default: all")
    parser.add_argument("--ema", action="store_true", help="take the moving average of the weights")
    parser.add_argument("--images", nargs="+", default=[], help="images or folders to check with; default: made up")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest difference (default %(default)s)")
    parser.add_argument(
        "--fixed-size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="only for batches of this size"
    )
    parser.add_argument(
        "--keep-operators",
        action="store_true",
        help="leave this project's operators in model.pt2: faster, but it needs the package to run",
    )
    parser.add_argument("overrides", nargs="*", help="changes of the config, such as train.device=cpu")
    return parser.parse_args(argv)
