"""The main program, of ``train_net.py`` and of ``python -m querydet``."""

import argparse
import contextlib
import logging

from detectron2.utils import comm
from omegaconf import DictConfig

from querydet.config import load_config
from querydet.engine.dry_run import dry_run
from querydet.engine.evaluation import evaluate_only
from querydet.engine.faults.stopping import stop_requests
from querydet.engine.run.changes import changes
from querydet.engine.run.early_logs import EarlyLogs
from querydet.engine.run.lock import RunLock, run_lock
from querydet.engine.run.setup import check_writable, setup_run
from querydet.engine.training import build_model, load_start, prepare_run, run_training

logger = logging.getLogger(__name__)


def main(args: argparse.Namespace) -> None:
    """Run one process: train, or with ``--eval-only`` evaluate, or with ``--dry-run`` try everything once.

    Args:
        args: from `querydet.engine.distributed.arguments.argument_parser`.
    """
    cfg = load_config(args.config_file, args.opts)
    if args.eval_only:
        setup_run(cfg, args)
        evaluate_only(cfg, build_model(cfg), args.resume)
        return
    if args.dry_run:
        dry_run(cfg, args)
        return
    with lock_run(cfg) as lock, stop_requests() as request:
        # Whatever refuses the run comes before anything is written to its folder.
        with EarlyLogs() as early:
            changed = changes(cfg) if args.resume and comm.is_main_process() else []
            parts = prepare_run(cfg, args.resume, request)
            hooks = load_start(parts)
        setup_run(cfg, args)
        early.write()
        if lock is not None:
            lock.begin()
        if changed:
            logger.warning("The config has changed since this run was started:\n  %s", "\n  ".join(changed))
        run_training(parts, hooks)


def lock_run(cfg: DictConfig) -> contextlib.AbstractContextManager[RunLock | None]:
    """Lock the output folder against other training runs, before anything is written to it."""
    if not comm.is_main_process():
        return contextlib.nullcontext()
    check_writable(cfg.train.output_dir)
    return run_lock(cfg.train.output_dir)
