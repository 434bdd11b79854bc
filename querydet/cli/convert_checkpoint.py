"""``querydet convert``, whose options are in `querydet.cli.arguments.convert_checkpoint`."""

import argparse
import os
import sys
from collections.abc import Sequence

from detectron2.utils.file_io import PathManager

import querydet.checkpoint.addresses  # noqa: F401 - makes querydet:// known
from querydet.checkpoint.conversion.convert import recognise
from querydet.checkpoint.conversion.pipeline import convert_content, save_converted, save_weights
from querydet.checkpoint.conversion.revert import revert_state_dict
from querydet.checkpoint.reading import read_checkpoint
from querydet.checkpoint.settings import KEY, stored
from querydet.checkpoint.weights import find_weights
from querydet.cli.arguments.convert_checkpoint import FORMATS, parse_arguments
from querydet.config import load_config

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # of a Hugging Face folder


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
