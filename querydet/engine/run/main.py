"""The main program, of ``train_net.py`` and of ``python -m querydet``."""

import argparse
import contextlib
import logging

from detectron2.utils import comm
from omegaconf import DictConfig

from querydet.config import load_config
from querydet.engine.dry_run import dry_run
from querydet.engine.evaluation import evaluate_only
from querydet.engine.run.changes import changes
from querydet.engine.run.lock import run_lock
from querydet.engine.run.setup import check_writable, setup_run
from querydet.engine.training import build_model, train

logger = logging.getLogger(__name__)


def main(args: argparse.Namespace) -> None:
    """Run one process: train, or with ``--eval-only`` evaluate, or with ``--dry-run`` try everything once.

    Args:
        args: from `querydet.engine.distributed.launching.argument_parser`.
    """
    cfg = load_config(args.config_file, args.opts)
    if args.eval_only:
        setup_run(cfg, args)
        evaluate_only(cfg, build_model(cfg), args.resume)
        return
    if args.dry_run:
        dry_run(cfg, args)
        return
    with lock_run(cfg):
        changed = changes(cfg) if args.resume and comm.is_main_process() else []  # before the old config is replaced
        setup_run(cfg, args)
        if changed:
            logger.warning("The config has changed since this run was started:\n  %s", "\n  ".join(changed))
        train(cfg, args.resume)


def lock_run(cfg: DictConfig) -> contextlib.AbstractContextManager[None]:
    """Lock the output folder against other training runs, before anything is written to it."""
    if not comm.is_main_process():
        return contextlib.nullcontext()
    check_writable(cfg.train.output_dir)
    return run_lock(cfg.train.output_dir)
