"""Run a trained detector on images, folders and videos.

    querydet predict --config-file CONFIG --weights model_final.pth --input photos/ clip.mp4 --output out/

Draws labelled boxes and masks (``out/<name>``; videos as mp4) and writes all detections to ``out/detections.json``,
COCO format, with masks as run lengths (``segmentation``). While the model runs, other images are read and drawn.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser, positive
from querydet.utils.precisions import PRECISIONS


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("--config-file", required=True, help="the config that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint to load")
    parser.add_argument("--input", required=True, nargs="+", help="images, folders of images, videos")
    parser.add_argument("--output", required=True, help="folder for pictures and detections.json")
    parser.add_argument(
        "--batch-size", type=positive, default=1, help="images of a forward pass, of like sizes (default %(default)s)"
    )
    parser.add_argument("--threshold", type=float, default=0.3, help="smallest score to keep (default %(default)s)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="auto: bfloat16 where this machine computes faster in it (default %(default)s)",
    )
    parser.add_argument(
        "--classes",
        help="class names, separated by commas; default: those in the checkpoint, or of the config's test data",
    )
    parser.add_argument("overrides", nargs="*", help="changes of the config, such as train.device=cpu")
    return parser.parse_args(argv)
