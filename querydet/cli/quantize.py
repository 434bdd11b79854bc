"""``querydet quantize``, whose options are in `querydet.cli.arguments.quantize`."""

import logging
import os
from collections.abc import Sequence

import torch
from detectron2.utils.logger import setup_logger

from querydet.cli.arguments.quantize import parse_arguments
from querydet.inference.predictor import Predictor, find_model
from querydet.quantization import (
    FLOAT,
    calibrate,
    check_support,
    make_codes,
    observe,
    observed_layers,
    save_quantized,
)
from querydet.quantization.images import CalibrationImages

logger = logging.getLogger("querydet.quantize")


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
