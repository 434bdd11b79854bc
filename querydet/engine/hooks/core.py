"""Hooks: moving average, schedule, evaluation, writers; those that save are in `querydet.engine.hooks.saving`.

Their order makes a resumed run repeat the uninterrupted one: the average and the schedule move, then the checkpoint is
written, then the evaluation runs, then the metrics are written. An evaluation cannot cost a checkpoint; when a run is
resumed from a checkpoint whose evaluation was due, that evaluation is run (again) first.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from detectron2.engine import EvalHook as _EvalHook
from detectron2.engine import HookBase, TrainerBase
from detectron2.engine.hooks import LRScheduler as _LRScheduler
from detectron2.utils.events import CommonMetricPrinter, EventWriter
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from querydet.engine.faults.stopping import EvaluationStopped
from querydet.engine.solver import EpochScheduler

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
    """Makes an earlier iteration the current one, for hooks that catch up with what it was to end with."""
    start = trainer.iter
    trainer.iter = trainer.storage.iter = iteration
    try:
        yield
    finally:
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


class EvalHook(_EvalHook):
    """Detectron2's hook that also evaluates, before the first step, a checkpoint whose evaluation was due.

    Args:
        period: in iterations, 0 for after the last one only.
        function: evaluates, and returns results.
        on_stop: called with the signal when the run was asked to stop in the middle of an evaluation; does not return.
        max_failed: how many evaluations in a row may fail before that ends the run.

    Raises:
        ValueError: ``max_failed`` is negative.
    """

    def __init__(
        self,
        period: int,
        function: Callable[[], dict[str, Any]],
        on_stop: Callable[[int], None],
        max_failed: int = 0,
    ) -> None:
        if max_failed < 0:
            raise ValueError(f"train.max_failed_evaluations has to be at least 0, got {max_failed}")
        super().__init__(period, function)
        self._on_stop = on_stop
        self._max_failed = max_failed
        self._failed = 0

    def _do_eval(self) -> None:
        try:
            super()._do_eval()
        except EvaluationStopped as stopped:
            self._on_stop(stopped.signum)
        except Exception as error:
            self._failed += 1
            if self._failed > self._max_failed:
                raise
            self.trainer.storage.put_scalar("failed_evaluations", self._failed, smoothing_hint=False)
            logger.exception(
                "Evaluation failed (%s), training goes on; failed in a row: %d, train.max_failed_evaluations=%d are "
                "allowed",
                error,
                self._failed,
                self._max_failed,
            )
        else:
            self._failed = 0

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
        self._failed: set[type] = set()

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
            try:
                writer.close()
            except OSError as error:
                self._report(writer, error)

    def _write(self, printing: bool) -> None:
        """A full disk costs lines of the curves, not the run."""
        for writer in self._writers:
            if printing or not isinstance(writer, CommonMetricPrinter):
                try:
                    writer.write()
                except OSError as error:
                    self._report(writer, error)

    def _report(self, writer: EventWriter, error: OSError) -> None:
        if type(writer) not in self._failed:
            self._failed.add(type(writer))
            logger.error("%s cannot write, training goes on: %s", type(writer).__name__, error)
