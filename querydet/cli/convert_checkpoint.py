"""Convert a published checkpoint to this project's names, or one of this project to the official names.

    querydet convert checkpoint0011_4scale.pth dino.pkl
    querydet train --config-file dino.yaml --eval-only train.init_checkpoint=dino.pkl

Known are the layouts of the official DINO, DN-DETR, DETA, MS-DETR, H-DETR, Deformable, Conditional (with groups), DAB-
and plain DETR, also with DETR's mask head, of Mask2Former, of detrex, and of Hugging Face's Deformable DETR and DETA:
docs/checkpoints.md. Every key of the source is mapped, found to be a copy, or dropped with a reason, and every weight
of the model is covered; anything else is an error. Beside DESTINATION (.pkl as in Detectron2's model zoo, or .pth) a
.safetensors file with the same weights is written, and a .yaml config that fits. No code of the source runs.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from detectron2.utils.file_io import PathManager

from querydet.checkpoint.conversion.convert import recognise
from querydet.checkpoint.conversion.families import FAMILIES
from querydet.checkpoint.conversion.pipeline import convert_content, save_converted, save_weights
from querydet.checkpoint.conversion.revert import revert_state_dict
from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.settings import KEY, stored
from querydet.checkpoint.weights import find_weights
from querydet.cli.options import command_parser
from querydet.config import load_config

FORMATS = {family.name.lower().replace(", ", "-").replace(" ", ""): family for family in FAMILIES}
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # of a Hugging Face folder


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("convert", __doc__)
    parser.add_argument("source", help="a file, an address (https://, detectron2://), or a Hugging Face folder")
    parser.add_argument("destination", help="file to write: .pkl, .pth or .safetensors")
    parser.add_argument("--format", choices=["auto", *FORMATS], default="auto", help="layout (default: by the keys)")
    parser.add_argument("--to", choices=["querydet", "official"], default="querydet", help="whose names to write")
    parser.add_argument("--select-coco-classes", action="store_true", help="of 91 outputs keep COCO's 80 classes")
    parser.add_argument("--ema", action="store_true", help="take the moving average of the weights")
    parser.add_argument("--config-file", help="check the weights against this config instead of choosing one")
    parser.add_argument("--num-queries", type=int, help="of the primary group, where the file does not tell")
    parser.add_argument("--num-heads", type=int, help="of the attentions, where the file does not tell (else 8)")
    parser.add_argument("--temperature", type=float, help="of the position embedding, where a code base used several")
    parser.add_argument("--offset", type=float, help="of the position embedding, where a code base used several")
    parser.add_argument(
        "--trust", action="store_true", help="run whatever code the source holds: for old files of your own"
    )
    parser.add_argument("--allow-nonfinite", action="store_true", help="convert also NaN and infinite weights")
    parser.add_argument("overrides", nargs="*", help="changes of --config-file, such as model.num_classes=3")
    return parser.parse_args(argv)


def find_source(source: str) -> str:
    """Return the local file of a source; downloads are cached as Detectron2's are.

    Raises:
        FileNotFoundError: there is none.
    """
    if os.path.isdir(source):
        found = [name for name in WEIGHT_FILES if os.path.isfile(os.path.join(source, name))]
        if not found:
            raise FileNotFoundError(f"the folder {source} holds neither {' nor '.join(WEIGHT_FILES)}")
        return os.path.join(source, found[0])
    return PathManager.get_local_path(source) if "://" in source else source


def convert(args: argparse.Namespace) -> str:
    """Convert to this project's names; return the report.

    Raises:
        FileNotFoundError: no such source or config.
        ValueError: the source cannot be converted; the message says why and what to do.
    """
    path = find_source(args.source)
    content = read_checkpoint(path, trust=args.trust)
    if args.format != "auto":
        family = recognise(find_weights(content, path, ema=args.ema).state)
        if family is not FORMATS[args.format]:
            raise ValueError(f"{path} is not in the {args.format} layout, but in that of {family.name}")
    converted = convert_content(
        content,
        path,
        config=load_config(args.config_file, args.overrides) if args.config_file else None,
        coco_classes=args.select_coco_classes,
        ema=args.ema,
        allow_nonfinite=args.allow_nonfinite,
        options={name: getattr(args, name) for name in ("num_queries", "num_heads", "temperature", "offset")},
    )
    written = save_converted(converted, args.destination)
    return converted.report() + f"\nwritten: {', '.join(written)}"


def revert(args: argparse.Namespace) -> str:
    """Convert to the official names; return the report.

    Raises:
        FileNotFoundError: no such source.
        ValueError: the weights are of a method that has no official layout here.
    """
    path = find_source(args.source)
    content = read_checkpoint(path, trust=args.trust)
    weights = find_weights(content, path, ema=args.ema)
    heads = stored(content, KEY, {}).get("encoder.layers.0.attention.num_heads")
    state = revert_state_dict(weights.state, args.num_heads or (heads if isinstance(heads, int) else None))
    written = save_weights(state, args.destination, {"author": "querydet, in official names"})
    return f"{len(weights.state)} weights under {len(state)} official names\nwritten: {', '.join(written)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 1 with a message when the source cannot be converted."""
    args = parse_arguments(argv)
    try:
        print(revert(args) if args.to == "official" else convert(args))
    except (ValueError, OSError) as error:
        print(f"querydet convert: {error}", file=sys.stderr)
        return 1
    return 0
