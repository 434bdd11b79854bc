"""Turn a trained detector into one that computes in 8 bit on a CPU, without training.

    querydet quantize --config-file CONFIG --weights model_final.pth --output model_int8.pth

Some images of the config's training data, or of --data, show which numbers the layers get. querydet predict, querydet
eval and Predictor take the file as weights. docs/quantization.md says what it costs and gains.
"""

import argparse
import logging
import os
from collections.abc import Sequence

import torch
from detectron2.utils.logger import setup_logger

from querydet.cli.options import command_parser, positive
from querydet.inference.predictor import Predictor, find_model
from querydet.quantization import (
    FLOAT,
    OBSERVERS,
    calibrate,
    check_support,
    make_codes,
    observe,
    observed_layers,
    save_quantized,
)
from querydet.quantization.images import CalibrationImages

logger = logging.getLogger("querydet.quantize")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("quantize", __doc__)
    parser.add_argument("--config-file", required=True, help="the config that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint to load")
    parser.add_argument("--output", required=True, help="file to write, such as model_int8.pth")
    parser.add_argument("--images", type=positive, default=64, help="number of images (default %(default)s)")
    parser.add_argument("--data", nargs="+", default=[], help="images and folders; default: the training data")
    parser.add_argument("--observer", choices=list(OBSERVERS), default="minmax", help="default: %(default)s")
    parser.add_argument("--keep-float", nargs="*", default=list(FLOAT), metavar="LAYER", help=_KEEP)
    parser.add_argument("--ema", action="store_true", help="take the moving average of the weights")
    parser.add_argument("overrides", nargs="*", help="changes of the config")
    return parser.parse_args(argv)


_KEEP = "beginnings of the names of layers that stay in floating point (default: %(default)s)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_arguments(argv)
    setup_logger(name="querydet")
    check_support("querydet quantize")
    overrides = [*args.overrides, f"train.ema.enabled={args.ema}"]
    predictor = Predictor(args.config_file, args.weights, overrides=overrides, device="cpu")
    config, _ = find_model(args.config_file, args.weights, overrides)
    images = CalibrationImages(predictor, config, args.data, args.images)
    observed = observe(predictor.model, args.observer)
    names = list(observed_layers(observed))
    unknown = [start for start in args.keep_float if not any(name.startswith(start) for name in names)]
    if unknown and args.keep_float != list(FLOAT):
        raise ValueError(f"--keep-float {unknown[0]} begins the name of no layer; there are {', '.join(names)}")
    count = calibrate(observed, images)
    codes = make_codes(observed, args.keep_float)
    settings = {"observer": args.observer, "images": count, "torch": str(torch.__version__)}
    save_quantized(observed, codes, args.output, predictor.class_names, settings)
    logger.info(
        "wrote %s, %.1f MB: %d layers in 8 bit by %d images; in floating point: %s",
        *(args.output, os.path.getsize(args.output) / 1e6, len(codes), count),
        ", ".join(name for name in names if name not in codes),
    )
    return 0
