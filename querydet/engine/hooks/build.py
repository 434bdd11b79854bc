"""The hooks of a training run in their order, and what its evaluations evaluate."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from detectron2.config import instantiate
from detectron2.engine import HookBase, hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn
from torch.optim.swa_utils import AveragedModel

from querydet.checkpoint import Checkpointer
from querydet.engine.distributed.sharding import ShardedCheckpointer, collected_parameters
from querydet.engine.evaluation import Evaluation, evaluate
from querydet.engine.faults.bad_images import BadImagesReport
from querydet.engine.faults.stopping import StopRequest
from querydet.engine.hooks.core import EMAHook, EvalHook, LRScheduler, WriterHook
from querydet.engine.hooks.divergence import DivergenceCheck
from querydet.engine.hooks.matching_stability import InstabilityHook
from querydet.engine.hooks.monitoring import MonitorHook
from querydet.engine.hooks.saving import BestCheckpointer, PeriodicCheckpointer, StopHook
from querydet.engine.hooks.writers import build_writers
from querydet.engine.run.run_length import RunLength
from querydet.engine.solver import EpochScheduler
from querydet.engine.trainer import Trainer

logger = logging.getLogger(__name__)


def build_hooks(
    cfg: DictConfig,
    trainer: Trainer,
    checkpointer: Checkpointer,
    length: RunLength,
    ema: AveragedModel | None,
    evaluation: Callable[[], dict[str, Any]],
    stability: Callable[[], dict[str, Any]] | None,
    pictures: HookBase | None,
) -> list[HookBase | None]:
    """The order matters, see `querydet.engine.hooks.core`."""
    train, main = cfg.train, comm.is_main_process()
    sharded = isinstance(checkpointer, ShardedCheckpointer)
    saves = main or sharded  # which collects from all processes
    scheduler = EpochScheduler(trainer.optimizer, instantiate(cfg.lr_multiplier), length.iterations_per_epoch)
    options = train.checkpointer
    save_period = length.period(options.period, "train.checkpointer.period")
    saver = PeriodicCheckpointer(checkpointer, save_period, options.max_to_keep, options.max_failed_saves)
    if main and not sharded:
        trainer.on_failure = saver.save_previous
    stop = StopHook(trainer.request, saver if saves else None)
    eval_period = length.period(train.eval_period, "train.eval_period")
    compare_period = length.period(train.check_ranks_period, "train.check_ranks_period")
    if sharded:  # no process has what another one has
        compare_period = 0
    writer = WriterHook(partial(build_writers, cfg, length.max_iter), train.log_period)
    return [
        hooks.IterationTimer(),
        MonitorHook(checkpointer.model, cfg.dataloader.train.total_batch_size, train.log_period),
        EMAHook(ema, checkpointer.model) if ema else None,
        LRScheduler(trainer.optimizer, scheduler),
        DivergenceCheck(checkpointer.model, compare_period),
        saver if saves else None,
        stop,
        EvalHook(eval_period, evaluation, stop.stop, train.max_failed_evaluations),
        _instability_hook(train, length, stability, stop),
        pictures,
        BestCheckpointer(checkpointer, options.best_metric) if saves else None,
        writer if main else None,
        BadImagesReport(train.output_dir) if main else None,
    ]


def _instability_hook(
    train: DictConfig, length: RunLength, stability: Callable[[], dict[str, Any]] | None, stop: StopHook
) -> HookBase | None:
    if stability is None:
        return None
    period = length.period(train.instability.period, "train.instability.period")
    return InstabilityHook(period, stability, stop.stop, train.max_failed_evaluations)


def evaluate_weights(
    cfg: DictConfig,
    test: Evaluation | None,
    model: nn.Module,
    ema: AveragedModel | None,
    results: dict[str, Any],
    request: StopRequest,
) -> dict[str, Any]:
    """Evaluates the weights that count, the average if there is one, and keeps the result in ``results``."""
    results.clear()
    with collected_parameters(model, *([ema.module] if ema else [])):
        results.update(comm.all_gather(_evaluate(cfg, test, model, ema, request))[0])
    metric, found = cfg.train.checkpointer.best_metric, flatten_results_dict(results)
    if metric and found and metric not in found:
        logger.warning(
            "train.checkpointer.best_metric=%s was not evaluated, no model_best.pth is written; there are %s",
            metric,
            ", ".join(found),
        )
    return results


def _evaluate(
    cfg: DictConfig, test: Evaluation | None, model: nn.Module, ema: AveragedModel | None, request: StopRequest
) -> dict[str, Any]:
    results = {}
    if ema and cfg.train.ema.evaluate_raw:
        logger.info("Evaluation of the raw weights:")
        results["raw"] = evaluate(model, test, request)
        logger.info("Evaluation of their moving average:")
    results.update(evaluate(ema.module if ema else model, test, request))
    return results
