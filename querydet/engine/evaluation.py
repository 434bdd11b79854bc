"""Evaluation through Detectron2's ``inference_on_dataset``."""

import logging
from typing import Any

from detectron2.config import instantiate
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from querydet.checkpoint import Checkpointer, load_weights

logger = logging.getLogger(__name__)


def evaluate(cfg: DictConfig, model: nn.Module) -> dict[str, Any]:
    """Runs a model over ``dataloader.test`` and prints Detectron2's table of results.

    Args:
        cfg: the complete config; without ``dataloader.evaluator`` nothing is evaluated.
        model: the model, without a wrapper.

    Returns:
        Results as the evaluator nests them, ``{"bbox": {"AP": ...}}``; empty on other than the main process.
    """
    if "evaluator" not in cfg.dataloader:
        logger.warning("The config has no dataloader.evaluator: nothing is evaluated")
        return {}
    results = inference_on_dataset(model, instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator))
    if comm.is_main_process():
        print_csv_format(results)
    return results


def evaluate_only(cfg: DictConfig, model: nn.Module, resume: bool) -> dict[str, Any]:
    """``--eval-only``: loads ``train.init_checkpoint``, or with ``--resume`` the run's last checkpoint, and evaluates.

    The moving average is evaluated when ``train.ema.enabled`` and the file has one.

    Raises:
        ValueError: no weights are named.
        FileNotFoundError: the weights do not exist.
    """
    path = cfg.train.init_checkpoint
    if resume:
        path = Checkpointer(model, cfg.train.output_dir).get_checkpoint_file() or path
    if not path:
        raise ValueError("--eval-only needs weights: set train.init_checkpoint=path/model_final.pth, or add --resume")
    load_weights(model, path, use_ema=cfg.train.ema.enabled, allow_mismatch=cfg.train.init_allow_mismatch)
    return evaluate(cfg, model)
