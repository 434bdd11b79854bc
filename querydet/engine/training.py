"""Builds everything a training run needs from a config, and runs it."""

import contextlib
import logging
import time
from collections.abc import Callable, Sized
from functools import partial
from typing import Any
from urllib.error import URLError

from detectron2.config import instantiate
from detectron2.engine import HookBase, create_ddp_model, hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim.swa_utils import AveragedModel

from querydet.checkpoint import Checkpointer, check_exists, last_iteration
from querydet.data.catalog import check_num_classes, check_same_classes, class_names
from querydet.engine.accumulation import check_micro_batches
from querydet.engine.bad_images import BadImagesReport
from querydet.engine.divergence import DivergenceCheck
from querydet.engine.evaluation import Evaluation, build_evaluation, evaluate
from querydet.engine.hooks import EMAHook, EvalHook, LRScheduler, WriterHook, build_ema
from querydet.engine.run_length import RunLength
from querydet.engine.saving import BestCheckpointer, PeriodicCheckpointer, StopHook
from querydet.engine.setup import check_writable, resolve_device, seed_everything
from querydet.engine.stopping import StopRequest, stop_requests
from querydet.engine.trainer import Trainer
from querydet.engine.writers import build_writers
from querydet.provenance import recorded
from querydet.solver import EpochScheduler

logger = logging.getLogger(__name__)


def build_model(cfg: DictConfig) -> nn.Module:
    """Instantiates ``cfg.model`` on its device; all processes draw the same initial weights."""
    seed_everything(cfg.train.seed)
    model = instantiate(cfg.model)
    return model.to(resolve_device(cfg.train.device))


def train(cfg: DictConfig, resume: bool = False) -> dict[str, Any]:
    """Trains ``cfg.model`` on ``cfg.dataloader.train``.

    Args:
        cfg: the complete config.
        resume: continue the run in ``train.output_dir`` when it has a checkpoint, else start it.

    Returns:
        Results of the last evaluation.

    Raises:
        ValueError: a config that contradicts itself or the data set, or an output folder in use by an earlier run.
        FileNotFoundError: ``train.init_checkpoint`` or files of the training or test data do not exist.
        ConnectionError: ``train.init_checkpoint`` cannot be downloaded.
        NonFiniteError: a NaN or infinite loss or gradient.
        Stopped: the run was asked to stop (`querydet.engine.stopping`).
    """
    with stop_requests() as request:
        return _train(cfg, resume, request)


def _train(cfg: DictConfig, resume: bool, request: StopRequest) -> dict[str, Any]:
    started = time.time()
    check_writable(cfg.train.output_dir)
    start_iter, checkpoint = _find_start(cfg, resume)
    loader = build_train_data(cfg, start_iter)
    length = RunLength.from_config(cfg.train, len(loader.dataset), cfg.dataloader.train.total_batch_size)
    classes = _class_names(cfg, loader)
    test = build_evaluation(cfg)  # now, so that missing or other data do not come to light after an epoch
    if test and classes:
        check_same_classes(classes, class_names(test.loader.dataset))
    logger.info("Run: %d iterations, %d an epoch", length.max_iter, length.iterations_per_epoch)
    model = build_model(cfg)
    logger.info("Model:\n%s", model)
    ema = build_ema(model, cfg.train.ema.decay) if cfg.train.ema.enabled else None
    optimizer = instantiate({**cfg.optimizer, "model": model})
    check_micro_batches(cfg.train.micro_batches, cfg.dataloader.train.total_batch_size, comm.get_world_size())
    trainer = Trainer(_wrap(model, cfg.train.ddp), loader, optimizer, cfg.train)
    parts: dict[str, Any] = {"trainer": trainer} | ({"ema": ema} if ema else {})
    checkpointer = Checkpointer(
        model, cfg.train.output_dir, allow_mismatch=cfg.train.init_allow_mismatch, class_names=classes, **parts
    )
    checkpointer.adapt = cfg.train.init_surgery
    results: dict[str, Any] = {}
    trainer.request = request
    evaluation = partial(_evaluate_all, cfg, test, model, ema, results, request)
    trainer.register_hooks(_build_hooks(cfg, trainer, checkpointer, length, ema, evaluation))
    if checkpoint:
        checkpointer.resume(checkpoint)
    else:
        _load_initial(checkpointer, cfg.train.init_checkpoint)
        if ema:
            ema.module.load_state_dict(model.state_dict())
    main = comm.is_main_process()
    with recorded(cfg.train.output_dir, start_iter, started) if main else contextlib.nullcontext():
        trainer.train(start_iter, length.max_iter)
    return results


def build_train_data(cfg: DictConfig, start_iter: int = 0) -> Any:
    """Builds ``dataloader.train`` at a position of its stream.

    Args:
        cfg: the complete config; ``train.seed`` is the seed of the stream too.
        start_iter: first iteration that is going to be run.

    Raises:
        ValueError: the loader shows no data set, or the config sets what the engine decides.
    """
    for key, owner in (("seed", "train.seed"), ("start_iteration", "--resume")):
        if key in cfg.dataloader.train:
            raise ValueError(f"dataloader.train.{key} has no effect in a training run, {owner} decides: remove it")
    loader = instantiate({**cfg.dataloader.train, "seed": cfg.train.seed, "start_iteration": start_iter})
    if not isinstance(getattr(loader, "dataset", None), Sized):
        raise ValueError(f"dataloader.train ({type(loader).__name__}) has no 'dataset' to count epochs by")
    return loader


def _class_names(cfg: DictConfig, loader: Any) -> list[str]:
    """Names of the classes of the training data, as many as the model has; empty for a model that has no such count."""
    num_classes = OmegaConf.select(cfg, "model.num_classes")
    if num_classes is None:
        return []
    check_num_classes(num_classes, loader.dataset)
    return class_names(loader.dataset)


def _find_start(cfg: DictConfig, resume: bool) -> tuple[int, str]:
    """First iteration and checkpoint to resume from, 0 and "" for a new run; fails early when neither works."""
    finder = Checkpointer(nn.Identity(), cfg.train.output_dir)
    found = (False, False, "")
    if comm.is_main_process():  # decides for all: processes may see a shared folder at different times
        has = finder.has_checkpoint()
        found = (has, finder.has_best(), finder.get_checkpoint_file() if has and resume else "")
    has_checkpoint, has_best, path = comm.all_gather(found)[0]
    if not resume and (has_checkpoint or has_best):
        way = "continue it with --resume" if has_checkpoint else "it saved nothing to resume from"
        raise ValueError(
            f"train.output_dir {cfg.train.output_dir} holds checkpoints of an earlier run: {way}, "
            "choose another train.output_dir, or remove the folder"
        )
    if has_checkpoint:
        if not path:
            raise ValueError(f"every checkpoint in {cfg.train.output_dir} is damaged: nothing to resume from")
        return last_iteration(path) + 1, path
    if resume:
        logger.info("--resume: no checkpoint in %s, starting a new run", cfg.train.output_dir)
    check_exists(cfg.train.init_checkpoint)
    return 0, ""


def _load_initial(checkpointer: Checkpointer, path: str) -> None:
    try:
        checkpointer.load(path, checkpointables=[])
    except URLError as error:
        raise ConnectionError(
            f"cannot download train.init_checkpoint={path}: {error.reason}. Bring the file and name it, or start from "
            "random weights with train.init_checkpoint="
        ) from error


def _wrap(model: nn.Module, ddp: DictConfig) -> nn.Module:
    """``DistributedDataParallel`` when there are several processes; Detectron2 passes a GPU's number on the CPU too."""
    on_gpu = next(model.parameters()).is_cuda
    options = {str(key): value for key, value in ddp.items()}
    return create_ddp_model(model, device_ids=[comm.get_local_rank()] if on_gpu else None, **options)


def _build_hooks(
    cfg: DictConfig,
    trainer: Trainer,
    checkpointer: Checkpointer,
    length: RunLength,
    ema: AveragedModel | None,
    evaluation: Callable[[], dict[str, Any]],
) -> list[HookBase | None]:
    """The order matters, see `querydet.engine.hooks`."""
    train, main = cfg.train, comm.is_main_process()
    scheduler = EpochScheduler(trainer.optimizer, instantiate(cfg.lr_multiplier), length.iterations_per_epoch)
    options = train.checkpointer
    save_period = length.period(options.period, "train.checkpointer.period")
    saver = PeriodicCheckpointer(checkpointer, save_period, options.max_to_keep, options.max_failed_saves)
    if main:
        trainer.on_failure = saver.save_previous
    stop = StopHook(trainer.request, saver if main else None)
    eval_period = length.period(train.eval_period, "train.eval_period")
    writers = partial(build_writers, train.output_dir, length.max_iter)
    return [
        hooks.IterationTimer(),
        EMAHook(ema, checkpointer.model) if ema else None,
        LRScheduler(trainer.optimizer, scheduler),
        DivergenceCheck(checkpointer.model, length.period(train.check_ranks_period, "train.check_ranks_period")),
        saver if main else None,
        stop,
        EvalHook(eval_period, evaluation, stop.stop, train.max_failed_evaluations),
        BestCheckpointer(checkpointer, options.best_metric) if main else None,
        WriterHook(writers, train.log_period) if main else None,
        BadImagesReport(train.output_dir) if main else None,
    ]


def _evaluate_all(
    cfg: DictConfig,
    test: Evaluation | None,
    model: nn.Module,
    ema: AveragedModel | None,
    results: dict[str, Any],
    request: StopRequest,
) -> dict[str, Any]:
    """Evaluates the weights that count, the average if there is one, and keeps the result in ``results``."""
    results.clear()
    if ema and cfg.train.ema.evaluate_raw:
        logger.info("Evaluation of the raw weights:")
        results["raw"] = evaluate(model, test, request)
        logger.info("Evaluation of their moving average:")
    results.update(evaluate(ema.module if ema else model, test, request))
    metric, found = cfg.train.checkpointer.best_metric, flatten_results_dict(results)
    if metric and found and metric not in found:
        logger.warning(
            "train.checkpointer.best_metric=%s was not evaluated, no model_best.pth is written; there are %s",
            metric,
            ", ".join(found),
        )
    return results
