#!/usr/bin/env python
"""Trains and evaluates a detector described by a LazyConfig file; ``train_net.py --help`` shows how."""

import argparse
import os

# OpenMP threads that spin while they wait slow each other down many times over when data workers or other programs
# want the same few cores. OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from querydet.config import load_config
from querydet.engine import argument_parser, build_model, evaluate_only, launch, setup_run, train


def main(args: argparse.Namespace) -> None:
    """One process of the run."""
    cfg = load_config(args.config_file, args.opts)
    setup_run(cfg, args)
    if args.eval_only:
        evaluate_only(cfg, build_model(cfg), args.resume)
    else:
        train(cfg, args.resume)


if __name__ == "__main__":
    launch(main, argument_parser().parse_args())
