"""Hooks: moving average, checkpoints, evaluation, writers.

Their order makes a resumed run repeat the uninterrupted one: the average and the schedule move, then the checkpoint is
written, then the evaluation runs, then the metrics are written. An evaluation cannot cost a checkpoint; when a run is
resumed from a checkpoint whose evaluation was due, that evaluation is run (again) first.
"""

import contextlib
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from detectron2.engine import EvalHook as _EvalHook
from detectron2.engine import HookBase, TrainerBase
from detectron2.engine.hooks import LRScheduler as _LRScheduler
from detectron2.utils.events import CommonMetricPrinter, EventWriter
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from querydet.checkpoint import Checkpointer
from querydet.solver import EpochScheduler

logger = logging.getLogger(__name__)


def build_ema(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's parameters; buffers are copied.

    Raises:
        ValueError: a decay outside [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"train.ema.decay has to be in [0, 1), got {decay}")
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    ema.requires_grad_(False)
    return ema.eval()


@contextlib.contextmanager
def after_iteration(trainer: TrainerBase, iteration: int) -> Iterator[None]:
    """Lets hooks catch up, before the first step of a resumed run, with what an earlier iteration was to end with."""
    start = trainer.iter
    trainer.iter = trainer.storage.iter = iteration
    yield
    trainer.iter = trainer.storage.iter = start


class EMAHook(HookBase):
    """Moves the average after every step that changed the weights.

    Args:
        ema: from `build_ema`.
        model: the model that is trained, without a wrapper.
    """

    def __init__(self, ema: AveragedModel, model: nn.Module) -> None:
        self._ema = ema
        self._model = model

    @torch.no_grad()
    def after_step(self) -> None:
        """Skipped steps leave the average alone."""
        if self.trainer.step_applied:
            self._ema.update_parameters(self._model)


class LRScheduler(_LRScheduler):
    """Detectron2's hook, which lets a changed config change the learning rate of a resumed run.

    Args:
        optimizer: the optimizer.
        scheduler: its schedule.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scheduler: EpochScheduler) -> None:
        super().__init__(optimizer, scheduler)

    def before_train(self) -> None:
        """Replaces the learning rates that came with the optimizer's state."""
        super().before_train()
        self.scheduler.apply()


class PeriodicCheckpointer(HookBase):
    """Writes ``model_0000123.pth`` every period and ``model_final.pth`` after the last iteration.

    Args:
        checkpointer: writes the file.
        period: in iterations, 0 for the last iteration only.
        max_to_keep: number of numbered checkpoints to keep, None for all. Older ones are removed only after the newer
            one is complete; those of an earlier part of the run count too.
    """

    def __init__(self, checkpointer: Checkpointer, period: int, max_to_keep: int | None = None) -> None:
        if max_to_keep is not None and max_to_keep < 1:
            raise ValueError(f"train.checkpointer.max_to_keep has to be at least 1 or null, got {max_to_keep}")
        self._checkpointer = checkpointer
        self._period = period
        self._max_to_keep = max_to_keep

    def after_step(self) -> None:
        """Saves when it is time."""
        iteration = self.trainer.iter
        if iteration + 1 == self.trainer.max_iter:
            self._checkpointer.save("model_final", iteration=iteration)
        elif self._period and (iteration + 1) % self._period == 0:
            self._checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            self._remove_old()

    def _remove_old(self) -> None:
        if self._max_to_keep is None or not self._checkpointer.save_to_disk:
            return
        folder = self._checkpointer.save_dir
        numbered = sorted(name for name in os.listdir(folder) if re.fullmatch(r"model_\d{7,}\.pth", name))
        for name in numbered[: -self._max_to_keep]:
            os.remove(os.path.join(folder, name))


class EvalHook(_EvalHook):
    """Detectron2's hook that also evaluates, before the first step, a checkpoint whose evaluation was due."""

    def before_train(self) -> None:
        """A checkpoint is older than the evaluation of its iteration, so the result is not in it."""
        done = self.trainer.start_iter
        if done and ((self._period and done % self._period == 0) or done >= self.trainer.max_iter):
            with after_iteration(self.trainer, done - 1):
                self._do_eval()

    def after_step(self) -> None:
        """Evaluates periodically and after the last iteration."""
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self._period and done % self._period == 0):
            self._do_eval()

    def after_train(self) -> None:
        """Detectron2 evaluates here, after the writers' last step."""


class BestCheckpointer(HookBase):
    """Writes ``model_best.pth`` when a metric rises; the best value survives a restart.

    Args:
        checkpointer: writes the file, without making it the one to resume from.
        metric: for example "bbox/AP"; empty switches the hook off.
    """

    def __init__(self, checkpointer: Checkpointer, metric: str) -> None:
        self._checkpointer = checkpointer
        self._metric = metric
        self._seen = -1
        self.best: float | None = None
        self.best_iteration = -1

    def before_train(self) -> None:
        """Looks at an evaluation that ran before the first step."""
        start = self.trainer.start_iter
        if start:
            with after_iteration(self.trainer, start - 1):
                self.after_step()

    def after_step(self) -> None:
        """Compares a new value of the metric with the best one."""
        value, iteration = self.trainer.storage.latest().get(self._metric, (math.nan, -1))
        if iteration <= self._seen:
            return
        self._seen = iteration
        # COCO's -1 means that there was nothing to evaluate
        if not math.isfinite(value) or value < 0 or (self.best is not None and value <= self.best):
            return
        self.best, self.best_iteration = float(value), int(iteration)
        logger.info("Best %s so far: %.4f at iteration %d", self._metric, self.best, iteration)
        self._checkpointer.save("model_best", tag=False, iteration=self.best_iteration)

    def state_dict(self) -> dict[str, Any]:
        """The best value and where it was reached."""
        return {"best": self.best, "best_iteration": self.best_iteration, "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores what `state_dict` saved."""
        self.best = state_dict["best"]
        self.best_iteration = state_dict["best_iteration"]
        self._seen = state_dict["seen"]


class WriterHook(HookBase):
    """Calls writers periodically and after the last iteration.

    Args:
        writers: from the first iteration to be run to the writers; called when training starts: they open files.
        period: in iterations.
    """

    def __init__(self, writers: Callable[[int], Sequence[EventWriter]], period: int) -> None:
        if not isinstance(period, int) or period < 1:
            raise ValueError(f"train.log_period has to be an integer of at least 1, got {period!r}")
        self._build = writers
        self._period = period
        self._writers: Sequence[EventWriter] = ()

    def before_train(self) -> None:
        """Opens the files and writes what an evaluation before the first step produced."""
        start = self.trainer.start_iter
        self._writers = self._build(start)
        if start and (start % self._period == 0 or start >= self.trainer.max_iter):
            with after_iteration(self.trainer, start - 1):
                self._write(printing=False)

    def after_step(self) -> None:
        """Writes when it is time."""
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            self._write(printing=True)

    def after_train(self) -> None:
        """Closes the files; after a failure too."""
        self._write(printing=False)
        for writer in self._writers:
            writer.close()

    def _write(self, printing: bool) -> None:
        for writer in self._writers:
            if printing or not isinstance(writer, CommonMetricPrinter):
                writer.write()
