r"""Draw the references, sampling points, candidates or denoising queries of a model on images, as one PNG.

    querydet visualize model references --config-file CONFIG --weights model_final.pth --output moves.png
    querydet visualize model sampling   --config-file CONFIG --weights model_final.pth --output points.png \
        --input street.jpg --layer 6 --head 0
    querydet visualize model candidates --config-file CONFIG --weights model_final.pth --output top.png --index 3
    querydet visualize model denoising  --config-file CONFIG --output noise.png

CONFIG is a config file, the name of a shipped one, or a name of the model zoo, which brings its weights.
"COMMAND --help" explains each picture. key=value changes the config, such as train.device=cpu.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser, positive, split_overrides
from querydet.evaluation.candidate_defaults import ALPHA, COUNT

ABOUT = {
    "references": "The box of a query into every decoder layer and its last prediction, dark to bright, and the way of "
    "its centre. Annotated objects are white and dotted. Without --query: the queries of the best detections.",
    "sampling": "The points that a query samples in a decoder layer: a colour for each feature level, larger and more "
    "opaque for larger attention weights. The reference that the layer samples around is white.",
    "candidates": "The queries that could have been chosen for an object, ranked by IoU or with --alpha by MS-DETR's "
    "matching score, and both by rank (arXiv 2401.03989, figure 7). A data set with annotations is needed.",
    "denoising": "Denoising queries of a training batch beside the objects that they were made from: positive ones "
    "green, negative ones red; a label that was replaced is written at the box. Needs training data, but no weights.",
}


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("visualize model", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parts = {}
    for name, about in ABOUT.items():
        part = parts[name] = commands.add_parser(name, description=about, help=about.split(". ")[0])
        part.add_argument("--config-file", required=True, help="config of the model, or a name of the model zoo")
        part.add_argument("--weights", help="checkpoint to load; not needed with a name of the zoo, nor for denoising")
        part.add_argument("--output", required=True, help="the PNG file")
        part.add_argument("--columns", type=positive, default=4, help="panels of a row (default %(default)s)")
    for name in ("references", "sampling", "candidates"):
        if name != "candidates":
            parts[name].add_argument("--input", nargs="+", default=[], metavar="FILE", help="images; default: --index")
            parts[name].add_argument("--query", nargs="+", type=int, default=[], help="which queries, counted from 0")
            parts[name].add_argument(
                "--top", type=positive, default=4, help="... or so many best (default %(default)s)"
            )
        parts[name].add_argument(
            "--index", nargs="+", type=int, default=[0], help="images of the test data, counted from 0 (default 0)"
        )
    counted = "counted from 1; default: "
    part = parts["sampling"]
    part.add_argument("--layer", nargs="+", type=int, default=[], help=f"decoder layers, {counted}each")
    part.add_argument("--zoom", type=float, help="show so many sizes of the reference around it; default: the image")
    part.add_argument("--head", nargs="+", type=int, default=[], help="heads, from 0; default: all together")
    parts["candidates"].add_argument("--layer", type=int, help=f"decoder layer, {counted}the last")
    parts["candidates"].add_argument("--object", nargs="+", type=int, default=[], help="which, from 0; default: all")
    parts["candidates"].add_argument("--count", type=int, default=COUNT, help="of an object (default %(default)s)")
    parts["candidates"].add_argument(
        "--alpha", type=float, default=ALPHA, help="weight of the score beside the IoU (default %(default)s)"
    )
    parts["denoising"].add_argument("--object", nargs="+", type=int, default=[], help="which, from 0; default: all")
    parts["denoising"].add_argument("--num-images", type=positive, default=2, help="default %(default)s")
    parts["denoising"].add_argument(
        "--repetitions", type=positive, default=2, help="at most so many of each image (default %(default)s)"
    )
    parts["sampling"].set_defaults(columns=None)
    given, overrides = split_overrides(argv)
    args = parser.parse_args(given)
    args.overrides = overrides
    return args
