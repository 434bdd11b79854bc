"""A training run: its parts are built from a config, then it runs."""

import contextlib
import logging
import time
from collections.abc import Sized
from typing import Any
from urllib.error import URLError

import torch
from detectron2.engine import create_ddp_model
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn

from querydet.checkpoint import Checkpointer, check_exists, last_iteration
from querydet.checkpoint.class_maps import class_map_of
from querydet.checkpoint.part_loading import parts_to_load
from querydet.data.catalog import check_num_classes, class_names
from querydet.data.fingerprint import fingerprint
from querydet.data.stream import epoch_length
from querydet.engine.accumulation import check_micro_batches
from querydet.engine.class_counts import give_class_counts
from querydet.engine.distributed.sharding import ShardedCheckpointer, is_sharded, shard_model, shard_optimizer
from querydet.engine.evaluation import build_evaluation, check_test_data
from querydet.engine.faults.stopping import StopRequest, stop_requests, watch_requests
from querydet.engine.freezing import freeze_parts
from querydet.engine.hooks.averaging import build_ema
from querydet.engine.hooks.build import RunHooks, build_hooks
from querydet.engine.memory_report import report_attention_memory
from querydet.engine.optimizer_state import shapes_of
from querydet.engine.run.run_length import RunLength
from querydet.engine.run.run_parts import RunParts
from querydet.engine.run.run_record import describe_run, recorded_data
from querydet.engine.run.setup import check_seed, check_writable, seed_everything
from querydet.engine.solver import lr_scale
from querydet.engine.switches import apply_switches
from querydet.engine.trainer import Trainer
from querydet.utils.allocator import keep_freed_memory_on
from querydet.utils.device import resolve_device
from querydet.utils.lazy import instantiate
from querydet.utils.provenance import recorded
from querydet.utils.system import network_timeout

logger = logging.getLogger(__name__)


def build_model(cfg: DictConfig) -> nn.Module:
    """Instantiate ``cfg.model`` on its device; all processes draw the same initial weights."""
    seed_everything(cfg.train.seed)
    model = instantiate(cfg.model)
    return model.to(resolve_device(cfg.train.device))


def train(cfg: DictConfig, resume: bool = False) -> dict[str, Any]:
    """Train ``cfg.model`` on ``cfg.dataloader.train``.

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
        Stopped: a request to stop ended the run (`querydet.engine.faults.stopping`).
    """
    with stop_requests() as request:
        parts = prepare_run(cfg, resume, request)
        return run_training(parts, load_start(parts))


def prepare_run(cfg: DictConfig, resume: bool, request: StopRequest) -> RunParts:
    """Build everything that a run needs; no checkpoint is loaded yet, and nothing is written to the folder of the run.

    Args:
        cfg: the complete config.
        resume: continue the run in ``train.output_dir`` when it has a checkpoint, else start it.
        request: requests to stop that this process receives.

    Raises:
        ValueError: a config that contradicts itself or the data set, or an output folder in use by an earlier run.
        FileNotFoundError: ``train.init_checkpoint`` or files of the training or test data do not exist.
    """
    started = time.time()
    check_seed(cfg.train.seed)
    check_writable(cfg.train.output_dir)
    _check_folder(cfg, resume)
    keep_freed_memory_on(resolve_device(cfg.train.device))
    model = build_model(cfg)
    ema = build_ema(model, cfg.train.ema.decay) if cfg.train.ema.enabled else None
    freeze_parts(model, cfg.train.get("freeze"))  # runs of earlier versions lack it
    start_iter, checkpoint = _find_start(cfg, resume, model)
    loader = build_train_data(cfg, start_iter)
    length = RunLength.from_config(cfg.train, epoch_length(loader.dataset), cfg.dataloader.train.total_batch_size)
    classes = _learn_classes(cfg, model, loader)
    test = build_evaluation(cfg, classes)  # now, so that missing or other data do not come to light after an epoch
    check_test_data(cfg, loader.dataset, test)
    logger.info("Run: %d iterations, %d an epoch", length.max_iter, length.iterations_per_epoch)
    logger.info("Model:\n%s", model)
    apply_switches(model, cfg.train)
    report_attention_memory(model, loader.dataset, *_image_sizes(cfg))
    sharded = is_sharded(cfg.train)
    for each in [model, *([ema.module] if ema else [])] if sharded else []:
        shard_model(each, cfg.train.sharding.reshard_after_forward)
    optimizer = build_optimizer(cfg, model)
    check_micro_batches(cfg.train.micro_batches, cfg.dataloader.train.total_batch_size, comm.get_world_size())
    trainer = Trainer(model if sharded else _wrap(model, cfg.train.ddp), loader, optimizer, cfg.train)
    trainer.request = request
    watch_requests(loader, request)
    saved: dict[str, Any] = {"trainer": trainer} | ({"ema": ema} if ema else {})
    checkpointer = _build_checkpointer(cfg, model, classes, checkpoint, saved)
    return RunParts(
        cfg=cfg,
        length=length,
        start_iter=start_iter,
        checkpoint=checkpoint,
        model=model,
        ema=ema,
        trainer=trainer,
        checkpointer=checkpointer,
        test=test,
        data=fingerprint(loader.dataset) if comm.is_main_process() else {},
        started=started,
    )


def _build_checkpointer(
    cfg: DictConfig, model: nn.Module, classes: list[str], checkpoint: str, saved: dict[str, Any]
) -> Checkpointer:
    kind = ShardedCheckpointer if is_sharded(cfg.train) else Checkpointer
    folder, allow_mismatch = cfg.train.output_dir, cfg.train.init_allow_mismatch
    checkpointer = kind(model, folder, allow_mismatch=allow_mismatch, class_names=classes, **saved)
    checkpointer.adapt, checkpointer.class_map = cfg.train.init_surgery, class_map_of(cfg.train)
    checkpointer.parts = parts_to_load(model, cfg.train.get("init_parts"), checkpoint or cfg.train.init_checkpoint)
    checkpointer.allow_nonfinite = cfg.train.get("init_allow_nonfinite", False)  # runs of earlier versions lack it
    return checkpointer


def load_start(parts: RunParts) -> RunHooks:
    """Build the hooks and load what the run starts from; nothing is written to the folder of the run.

    Args:
        parts: from `prepare_run`.

    Raises:
        ValueError: the checkpoint is of another run, or of other training data.
        Exception: as `train`.
    """
    cfg, trainer = parts.cfg, parts.trainer
    built = build_hooks(parts)
    trainer.register_hooks(built.hooks)
    trainer.on_failure = built.on_failure
    if parts.checkpoint:
        parts.checkpointer.resume(parts.checkpoint)
        if not built.same_data.compared:
            built.same_data.compare(recorded_data(cfg.train.output_dir))
    else:
        _load_initial(parts.checkpointer, cfg.train.init_checkpoint)
        if parts.ema:
            parts.ema.module.load_state_dict(parts.model.state_dict())
    return built


def run_training(parts: RunParts, hooks: RunHooks) -> dict[str, Any]:
    """Train to the end.

    Args:
        parts: from `prepare_run`.
        hooks: from `load_start`.

    Returns:
        Results of the last evaluation.

    Raises:
        Exception: as `train`.
    """
    with _recorded(parts):
        parts.trainer.train(parts.start_iter, parts.length.max_iter)
    return hooks.evaluation.results


def _image_sizes(cfg: DictConfig) -> tuple[list[Any], int]:
    """Return what decides how large a batch is: the augmentations, and the number of images computed together."""
    found = OmegaConf.select(cfg, "dataloader.train.mapper.augmentations")
    shares = comm.get_world_size() * cfg.train.micro_batches
    return list(instantiate(found) or []), -(-cfg.dataloader.train.total_batch_size // shares)


def _recorded(parts: RunParts) -> contextlib.AbstractContextManager[None]:
    if not comm.is_main_process():
        return contextlib.nullcontext()
    data = {"train": parts.data} | ({"test": fingerprint(parts.test.loader.dataset)} if parts.test else {})
    folder = parts.cfg.train.output_dir
    return recorded(folder, parts.start_iter, parts.started, describe_run(folder, data))


def build_optimizer(cfg: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Build ``cfg.optimizer`` over a model, with its learning rates scaled as ``train.lr_scaling`` says.

    Raises:
        ValueError: a scaling that does not exist.
    """
    batch, scaling = cfg.dataloader.train.total_batch_size, cfg.train.lr_scaling
    factor = lr_scale(scaling.rule, batch, scaling.base_batch_size)
    optimizer = instantiate({**cfg.optimizer, "model": model})
    shard_optimizer(optimizer)
    for group in optimizer.param_groups:
        group["lr"] *= factor
    if scaling.rule is not None:
        logger.info("Learning rates times %.4g: %s rule, %d images a step", factor, scaling.rule, batch)
    return optimizer


def build_train_data(cfg: DictConfig, start_iter: int = 0) -> Any:
    """Build ``dataloader.train`` at a position of its stream.

    Args:
        cfg: the complete config; ``train.seed`` is the seed of the stream too.
        start_iter: first iteration to run.

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


def _learn_classes(cfg: DictConfig, model: nn.Module, loader: Any) -> list[str]:
    """Tell losses how many images have each class; return the class names, none for a model without `num_classes`."""
    if (num_classes := OmegaConf.select(cfg, "model.num_classes")) is None:
        return []
    check_num_classes(num_classes, loader.dataset)
    give_class_counts(model, loader.dataset)
    return class_names(loader.dataset)


def _check_folder(cfg: DictConfig, resume: bool) -> None:
    """Refuse to start a new run in the folder of an earlier one."""
    finder = Checkpointer(nn.Identity(), cfg.train.output_dir)
    # the main process decides for all: they may see a shared folder at different times
    has_checkpoint, has_best = comm.all_gather((finder.has_checkpoint(), finder.has_best()))[0]
    if not resume and (has_checkpoint or has_best):
        way = "continue it with --resume" if has_checkpoint else "it saved nothing to resume from"
        raise ValueError(
            f"train.output_dir {cfg.train.output_dir} holds checkpoints of an earlier run: {way}, "
            "choose another train.output_dir, or remove the folder"
        )
    if not has_checkpoint:
        if resume:
            logger.info("--resume: no checkpoint in %s, starting a new run", cfg.train.output_dir)
        check_exists(cfg.train.init_checkpoint)


def _find_start(cfg: DictConfig, resume: bool, model: nn.Module) -> tuple[int, str]:
    """Find the first iteration and the checkpoint to resume from, 0 and "" for a new run."""
    finder = Checkpointer(model, cfg.train.output_dir)
    finder.allow_nonfinite = cfg.train.get("init_allow_nonfinite", False)
    found = (False, "", "")
    if resume and comm.is_main_process():
        wanted = ("trainer", "ema") if cfg.train.ema.enabled else ("trainer",)
        optimized = shapes_of(instantiate({**cfg.optimizer, "model": model}))
        found = (finder.has_checkpoint(), *finder.find_usable(wanted, optimized))
    has_checkpoint, path, problem = comm.all_gather(found)[0]
    if not has_checkpoint:
        return 0, ""
    if not path:
        raise ValueError(
            f"every checkpoint in {cfg.train.output_dir} is damaged or refused, nothing to resume from; of the newest "
            f"one: {problem}"
        )
    return last_iteration(path) + 1, path


def _load_initial(checkpointer: Checkpointer, path: str) -> None:
    try:
        with network_timeout():
            checkpointer.load(path, checkpointables=[])
    except (URLError, TimeoutError) as error:
        raise ConnectionError(
            f"cannot download train.init_checkpoint={path}: {getattr(error, 'reason', error)}. Bring the file and name "
            "it, or start from random weights with train.init_checkpoint="
        ) from error


def _wrap(model: nn.Module, ddp: DictConfig) -> nn.Module:
    """Wrap a model for several processes; unlike Detectron2's function this passes no GPU's number on the CPU."""
    on_gpu = next(model.parameters()).is_cuda
    options = {str(key): value for key, value in ddp.items()}
    return create_ddp_model(model, device_ids=[comm.get_local_rank()] if on_gpu else None, **options)
