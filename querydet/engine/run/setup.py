"""Preparations before anything is built: output folder, logs, the saved config, seeds."""

import argparse
import logging
import os
import random
import sys
import tempfile

import numpy as np
import torch
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig

from querydet.config import save_config
from querydet.engine.run.early_logs import LOGGERS
from querydet.utils.damaged import put_aside_unless_file

logger = logging.getLogger(__name__)

SHARED_MEMORY = "/dev/shm"
LITTLE_SHARED_MEMORY = 64  # MB; Docker's default


def setup_run(cfg: DictConfig, args: argparse.Namespace) -> None:
    """Create the output folder, start the logs, print the environment once and save the config.

    The config is saved as ``config.yaml``, by ``--eval-only`` as ``config_eval.yaml``.

    Args:
        cfg: the complete config, overrides applied.
        args: from `querydet.engine.distributed.arguments.argument_parser`.

    Raises:
        ValueError: an output folder that cannot be written, or a seed that is no number >= 0.
    """
    output_dir = cfg.train.output_dir
    check_seed(cfg.train.seed)
    if comm.is_main_process():
        check_writable(output_dir)
        for name in ("log.txt", "config.yaml"):
            put_aside_unless_file(os.path.join(output_dir, name))
    comm.synchronize()
    rank = comm.get_rank()
    for name in LOGGERS:
        setup_logger(output_dir, distributed_rank=rank, name=name)
    logger.info("Rank %d of %d processes, command: %s", rank, comm.get_world_size(), " ".join(sys.argv))
    if comm.is_main_process():
        logger.info("Environment info:\n%s", collect_env_info())
        warn_of_shared_memory()
        path = os.path.join(output_dir, "config_eval.yaml" if args.eval_only else "config.yaml")
        save_config(cfg, path)
        logger.info("Config with overrides saved to %s", path)
    torch.backends.cudnn.benchmark = bool(cfg.train.cudnn_benchmark) and not args.eval_only


def warn_of_shared_memory() -> None:
    """Say so when shared memory is full, or as small as Docker makes it."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:  # another system
        return
    free, total = (blocks * status.f_frsize / 2**20 for blocks in (status.f_bavail, status.f_blocks))
    if free <= LITTLE_SHARED_MEMORY:
        logger.warning(
            "%s has %.0f of %.0f MB free. Data workers do without it; NCCL, between several GPUs, does not: start the "
            "container with --shm-size=8g, or remove what fills it",
            SHARED_MEMORY,
            free,
            total,
        )


def check_writable(folder: str) -> None:
    """Create a folder and write a file in it, so that a run does not fail at its first checkpoint.

    The file is gone afterwards, and the folder's times are what they were.

    Raises:
        ValueError: that is not possible.
    """
    if not folder:
        raise ValueError("train.output_dir is empty: set train.output_dir=path/of/a/folder")
    try:
        os.makedirs(folder, exist_ok=True)
        before = os.stat(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if os.stat(folder).st_mtime_ns != before.st_mtime_ns:  # where every file has a name, as on NFS
            os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    except OSError as error:
        raise ValueError(f"train.output_dir {os.path.abspath(folder)} cannot be written: {error}") from error


def seed_everything(seed: int, *position: int) -> None:
    """Seed Python's, numpy's and torch's global generators.

    Args:
        seed: ``train.seed``.
        position: for example iteration and rank. The state depends on nothing but these numbers, so that a resumed
            run draws what the uninterrupted one would have drawn.
    """
    words = np.random.SeedSequence([seed, *position]).generate_state(3, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]) % 2**32)  # noqa: NPY002 - mappers of Detectron2 draw from this generator
    torch.manual_seed(int(words[2]) % 2**63)


def check_seed(seed: object) -> None:
    """Refuse a seed that is no integer of at least 0.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"train.seed has to be an integer of at least 0, got {seed!r}")
