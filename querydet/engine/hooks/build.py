"""The hooks of a training run in their order.

The order makes a resumed run repeat the uninterrupted one: the average and the schedule move, then the checkpoint is
written, then the evaluation runs, then the metrics are written. An evaluation cannot cost a checkpoint; when a run is
resumed from a checkpoint whose evaluation was due, that evaluation runs (again) first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from omegaconf import OmegaConf

from querydet.engine.distributed.sharding import ShardedCheckpointer
from querydet.engine.faults.bad_images import BadImagesReport
from querydet.engine.hooks.averaging import EMAHook
from querydet.engine.hooks.divergence import DivergenceCheck
from querydet.engine.hooks.evaluating import EvalHook, RunEvaluation
from querydet.engine.hooks.learning_rate import LRScheduler
from querydet.engine.hooks.matching_stability import InstabilityHook, track_instability
from querydet.engine.hooks.monitoring import MonitorHook
from querydet.engine.hooks.same_data import SameData
from querydet.engine.hooks.saving import BestCheckpointer, PeriodicCheckpointer, StopHook
from querydet.engine.hooks.writers import WriterHook, build_writers
from querydet.engine.run.run_parts import RunParts
from querydet.engine.solver import EpochScheduler
from querydet.utils.lazy import instantiate


@dataclass(frozen=True)
class RunHooks:
    """Hooks of a run, and what else the run needs of them.

    Args:
        hooks: in their order; None stands for one that is switched off.
        evaluation: evaluates, and keeps the last results.
        same_data: compares the training data with that of the checkpoint.
        on_failure: saves the state before a step that failed; None in a process that cannot.
    """

    hooks: list[HookBase | None]
    evaluation: RunEvaluation
    same_data: SameData
    on_failure: Callable[[], None] | None


def build_hooks(parts: RunParts) -> RunHooks:
    """Build the hooks of a run; they are not registered yet.

    Raises:
        ValueError: a period, a number or a switch of the config that makes no sense.
    """
    train, trainer, checkpointer, length = parts.cfg.train, parts.trainer, parts.checkpointer, parts.length
    main, sharded = comm.is_main_process(), isinstance(checkpointer, ShardedCheckpointer)
    saves = main or sharded  # a sharded checkpoint is collected from all processes
    scheduler = EpochScheduler(trainer.optimizer, instantiate(parts.cfg.lr_multiplier), length.iterations_per_epoch)
    options = train.checkpointer
    save_period = length.period(options.period, "train.checkpointer.period")
    saver = PeriodicCheckpointer(checkpointer, save_period, options.max_to_keep, options.max_failed_saves)
    stop = StopHook(parts.request, saver if saves else None)
    evaluation = RunEvaluation(parts)
    eval_period = length.period(train.eval_period, "train.eval_period")
    compare_period = length.period(train.check_ranks_period, "train.check_ranks_period")
    if sharded:  # no process has what another one has
        compare_period = 0
    writer = WriterHook(partial(build_writers, parts.cfg, length.max_iter), train.log_period)
    same_data = SameData(parts.data, train.allow_changed_config)
    built = [
        same_data,
        hooks.IterationTimer(),
        MonitorHook(parts.model, parts.cfg.dataloader.train.total_batch_size, train.log_period),
        EMAHook(parts.ema, parts.model) if parts.ema else None,
        LRScheduler(trainer.optimizer, scheduler),
        DivergenceCheck(parts.model, compare_period),
        saver if saves else None,
        stop,
        EvalHook(eval_period, evaluation, stop.stop, train.max_failed_evaluations),
        _instability_hook(parts, stop),
        _picture_hook(parts),
        BestCheckpointer(checkpointer, options.best_metric) if saves else None,
        writer if main else None,
        BadImagesReport(train.output_dir) if main else None,
    ]
    return RunHooks(built, evaluation, same_data, saver.save_previous if main and not sharded else None)


def _instability_hook(parts: RunParts, stop: StopHook) -> HookBase | None:
    measure = track_instability(parts)
    if measure is None:
        return None
    train = parts.cfg.train
    period = parts.length.period(train.instability.period, "train.instability.period")
    return InstabilityHook(period, measure, stop.stop, train.max_failed_evaluations)


def _picture_hook(parts: RunParts) -> HookBase | None:
    if not OmegaConf.select(parts.cfg, "train.pictures.enabled"):
        return None
    from querydet.engine.hooks.pictures import PictureHook  # with matplotlib, which other runs need not import

    return PictureHook(parts, parts.length.period(parts.cfg.train.pictures.period, "train.pictures.period"))
