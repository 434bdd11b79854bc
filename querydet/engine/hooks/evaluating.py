"""Evaluation during training: when it runs, which weights it evaluates, and what its failure costs."""

import logging
from collections.abc import Callable
from typing import Any

from detectron2.engine import EvalHook as _EvalHook
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from querydet.engine.distributed.sharding import collected_parameters
from querydet.engine.evaluation import evaluate
from querydet.engine.faults.stopping import EvaluationStopped
from querydet.engine.hooks.catch_up import after_iteration
from querydet.engine.run.run_parts import RunParts
from querydet.evaluation.query_predictions import record_queries

logger = logging.getLogger(__name__)


class RunEvaluation:
    """Evaluates the weights of a run that count: the moving average if there is one.

    Args:
        parts: the run.

    Attributes:
        results: of the last evaluation; empty before the first one and after one that failed.

    Raises:
        ValueError: an evaluator compares boxes of queries, and the detector predicts none.
    """

    def __init__(self, parts: RunParts) -> None:
        self._parts = parts
        if parts.test is not None:
            record_queries(parts.model, parts.test.evaluator)  # refuses now what it would refuse after an epoch
        self.results: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        """Evaluate, and return the same results in all processes."""
        self.results = {}
        with collected_parameters(*self._parts.models):
            self.results = comm.all_gather(self._evaluate())[0]
        metric, found = self._parts.cfg.train.checkpointer.best_metric, flatten_results_dict(self.results)
        if metric and found and metric not in found:
            logger.warning(
                "train.checkpointer.best_metric=%s was not evaluated, no model_best.pth is written; there are %s",
                metric,
                ", ".join(found),
            )
        return self.results

    def _evaluate(self) -> dict[str, Any]:
        parts = self._parts
        results: dict[str, Any] = {}
        if parts.ema and parts.cfg.train.ema.evaluate_raw:
            logger.info("Evaluation of the raw weights:")
            results["raw"] = evaluate(parts.model, parts.test, parts.request)
            logger.info("Evaluation of their moving average:")
        results.update(evaluate(parts.evaluated_model, parts.test, parts.request))
        return results


class EvalHook(_EvalHook):
    """Detectron2's hook; also evaluates, before the first step, a checkpoint whose evaluation was due.

    Args:
        period: in iterations, 0 for after the last one only.
        function: evaluates, and returns results.
        on_stop: called with the signal when a request to stop arrived during an evaluation; does not return.
        max_failed: number of evaluations in a row that may fail; one more ends the run.

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
        """Evaluate the checkpoint that the run resumes from if that was due: it was saved before its evaluation."""
        done = self.trainer.start_iter
        if done and ((self._period and done % self._period == 0) or done >= self.trainer.max_iter):
            with after_iteration(self.trainer, done - 1):
                self._do_eval()

    def after_step(self) -> None:
        """Evaluate periodically and after the last iteration."""
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self._period and done % self._period == 0):
            self._do_eval()

    def after_train(self) -> None:
        """Do nothing: Detectron2 evaluates here, which is after the last step of the writers."""
