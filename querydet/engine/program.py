"""The main program, of ``train_net.py`` and of ``python -m querydet``."""

import argparse

from querydet.config import load_config
from querydet.engine.evaluation import evaluate_only
from querydet.engine.setup import setup_run
from querydet.engine.training import build_model, train


def main(args: argparse.Namespace) -> None:
    """One process of a run: trains, or with ``--eval-only`` evaluates.

    Args:
        args: from `querydet.engine.launching.argument_parser`.
    """
    cfg = load_config(args.config_file, args.opts)
    setup_run(cfg, args)
    if args.eval_only:
        evaluate_only(cfg, build_model(cfg), args.resume)
    else:
        train(cfg, args.resume)
