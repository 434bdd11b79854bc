"""Hooks that save: the checkpoints to resume from, also on a request to stop, and the best model."""

import logging
import math
import signal
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from querydet.checkpoint import Checkpointer
from querydet.checkpoint.folder import remove_old
from querydet.engine.faults.stopping import Stopped, StopRequest
from querydet.engine.hooks.catch_up import after_iteration

logger = logging.getLogger(__name__)


class SaveError(RuntimeError):
    """Checkpoints cannot be written; the earlier ones are intact."""


class PeriodicCheckpointer(HookBase):
    """Writes ``model_0000123.pth`` every period and ``model_final.pth`` after the last iteration.

    A checkpoint that cannot be written, because the disk is full for example, is reported and counted as
    ``failed_saves``, and training goes on, because the next one may succeed.

    Args:
        checkpointer: writes the file.
        period: in iterations, 0 for the last iteration only.
        max_to_keep: number of numbered checkpoints to keep, None for all. Older ones are removed only after the newer
            one is complete; those of an earlier part of the run count too, damaged ones do not.
        max_failed: number of saves in a row that may fail; one more stops the run. The last one of a run may not fail.

    Raises:
        ValueError: a number out of its range.
    """

    def __init__(
        self, checkpointer: Checkpointer, period: int, max_to_keep: int | None = None, max_failed: int = 0
    ) -> None:
        if max_to_keep is not None and max_to_keep < 1:
            raise ValueError(f"train.checkpointer.max_to_keep has to be at least 1 or null, got {max_to_keep}")
        if max_failed < 0:
            raise ValueError(f"train.checkpointer.max_failed_saves has to be at least 0, got {max_failed}")
        self._checkpointer = checkpointer
        self._period = period
        self._max_to_keep = max_to_keep
        self._max_failed = max_failed
        self._failed = 0
        self._saved = -1

    def before_train(self) -> None:
        """Count the checkpoint that the run resumes from as saved."""
        self._saved = self.trainer.start_iter - 1

    def after_step(self) -> None:
        """Save when it is time.

        Raises:
            SaveError: it failed too often, or in the last iteration.
        """
        iteration = self.trainer.iter
        last = iteration + 1 == self.trainer.max_iter
        if not (last or (self._period and (iteration + 1) % self._period == 0)):
            return
        try:
            self.save("model_final" if last else "")
        except OSError as error:
            self._failed += 1
            self.trainer.storage.put_scalar("failed_saves", self._failed, smoothing_hint=False)
            text = (
                f"the checkpoint of iteration {iteration} cannot be written to {self._checkpointer.save_dir}: {error}. "
                f"The earlier ones are intact. Failed in a row: {self._failed}; "
                f"train.checkpointer.max_failed_saves={self._max_failed} are allowed"
            )
            if last or self._failed > self._max_failed:
                raise SaveError(text + (", the last one of a run never" if last else "")) from error
            logger.error("Training goes on without a checkpoint: %s", text)

    def save(self, name: str = "") -> None:
        """Save the state after the trainer's iteration, unless that has been done.

        Args:
            name: name of the file without extension; "" for the number of the iteration.

        Raises:
            OSError: it cannot be written.
        """
        iteration = self.trainer.iter
        if self._saved == iteration:
            return
        self._saved = iteration  # or tried: where all processes save together, they have to agree without asking
        self._checkpointer.save(name or f"model_{iteration:07d}", iteration=iteration)
        self._failed = 0
        if not name and self._max_to_keep is not None and self._checkpointer.save_to_disk:
            remove_old(self._checkpointer.save_dir, self._max_to_keep, iteration)

    def save_previous(self) -> None:
        """Save the state after the previous iteration, when the current one has failed.

        The caller guarantees that the failed iteration has changed nothing. Problems are logged: there is a failure to
        report already.
        """
        before = self.trainer.iter - 1
        if before < self.trainer.start_iter:
            return
        try:
            with after_iteration(self.trainer, before):
                self.save()
        except OSError as error:
            logger.error("The state before the failure cannot be saved: %s", error)


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
        """Compare the result of an evaluation that ran before the first step."""
        start = self.trainer.start_iter
        if start:
            with after_iteration(self.trainer, start - 1):
                self.after_step()

    def after_step(self) -> None:
        """Compare a new value of the metric with the best one, and save the model if it is better."""
        value, iteration = self.trainer.storage.latest().get(self._metric, (math.nan, -1))
        if iteration <= self._seen:
            return
        self._seen = iteration
        # COCO's -1 means that there was nothing to evaluate
        if not math.isfinite(value) or value < 0 or (self.best is not None and value <= self.best):
            return
        logger.info("Best %s so far: %.4f at iteration %d", self._metric, value, iteration)
        try:
            self._checkpointer.save("model_best", tag=False, iteration=int(iteration))
        except OSError as error:
            logger.error("The best model cannot be written, the one before is intact: %s", error)
            return
        self.best, self.best_iteration = float(value), int(iteration)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and its iteration."""
        return {"best": self.best, "best_iteration": self.best_iteration, "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.best = state_dict["best"]
        self.best_iteration = state_dict["best_iteration"]
        self._seen = state_dict["seen"]


class StopHook(HookBase):
    """Ends the run after the step in which all processes have learnt of a request to stop.

    Args:
        request: requests to stop that this process receives.
        saver: writes the checkpoint; None in a process that writes none.
    """

    def __init__(self, request: StopRequest, saver: PeriodicCheckpointer | None) -> None:
        self._request = request
        self._saver = saver

    def before_train(self) -> None:
        """Let requests wait for the end of a step: from here on there is something to save."""
        self._request.graceful = True

    def after_step(self) -> None:
        """Stop if a request is known; several processes have agreed on it in the step (`querydet.engine.trainer`)."""
        signum = self._request.signum if comm.get_world_size() == 1 else self.trainer.stop_signal
        if signum:
            self.stop(signum)

    def after_train(self) -> None:
        """Let requests end the process at once: from here on there is nothing to save."""
        self._request.graceful = False

    def stop(self, signum: int) -> None:
        """Save and end the run.

        Raises:
            Stopped: always.
        """
        name = signal.Signals(signum).name
        logger.warning("%s: stopping after iteration %d; --resume continues", name, self.trainer.iter)
        if self._saver is not None:
            try:
                self._saver.save()
            except OSError as error:
                logger.error("The checkpoint cannot be written, the earlier ones are intact: %s", error)
        comm.synchronize()  # a process that ends while another one saves looks like a failure to the launcher
        raise Stopped(signum)
