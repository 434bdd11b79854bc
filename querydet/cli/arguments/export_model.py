"""Export a trained detector for programs without the training code, and compare the files with the detector.

    querydet export --config-file CONFIG --weights model_final.pth --output exported/

* ``model.pth``: a checkpoint of the weights that inference needs, without optimizer and training parts.
* ``model.pt2``: a program of torch.export for batches and images of any size, which runs without this package.
* ``model.onnx``: the same as an ONNX graph of standard operators.
* ``model.xml`` and ``model.bin``: the same for OpenVINO, in float32, bfloat16 or with 8-bit products; not by default:

    querydet export ... --formats openvino --precision int8 --calibration train_images/ --images test_images/

* ``export.json``: class names, channel order, the least image side, versions, and what the checks measured.

Programs and graphs are run on single images and on a batch of unequal sizes, and compared with the detector: in
float32 all that they compute, in other precisions what they detect.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser

FORMATS = {"checkpoint": "model.pth", "torch": "model.pt2", "onnx": "model.onnx", "openvino": "model.xml"}
DEFAULT = ("checkpoint", "torch", "onnx")
PRECISIONS = ("float32", "bfloat16", "int8")  # of OpenVINO


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("export", __doc__)
    parser.add_argument("--config-file", required=True, help="the config that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint to load")
    parser.add_argument("--output", required=True, help="folder to write to")
    parser.add_argument(
        "--formats", nargs="+", choices=list(FORMATS), default=list(DEFAULT), help="default: %(default)s"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of OpenVINO (default %(default)s)")
    calibration = (
        "images or folders for the ranges of int8, like those that will be detected on; the first 300 are taken"
    )
    parser.add_argument("--calibration", nargs="+", default=[], help=calibration)
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
