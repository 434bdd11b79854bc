"""An evaluation that all processes of a run end together, however it ends for one of them."""

from collections.abc import Iterator
from typing import Any

from detectron2.evaluation import DatasetEvaluator

from querydet.engine.distributed.agreement import largest
from querydet.engine.faults.stopping import EvaluationStopped, StopRequest


class EvaluationFailedError(RuntimeError):
    """The evaluation failed in another process, which says why."""


class SharedEvaluation(DatasetEvaluator):
    """A loader's batches, until this process is asked to stop, and an evaluator.

    All processes run through their batches, fewer if they were asked or failed, and then agree on whether to go on; and
    again after the results are there. None waits for something that another one does not have.

    Args:
        loader: of the test data.
        evaluator: evaluates them.
        request: to stop, of this process.
    """

    def __init__(self, loader: Any, evaluator: DatasetEvaluator, request: StopRequest) -> None:
        self._loader = loader
        self._evaluator = evaluator
        self._request = request
        self._agreeing = True

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            if self._request.signum:
                return
            yield batch

    def reset(self) -> None:
        """Of the evaluator."""
        self._evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        """By the evaluator."""
        self._evaluator.process(inputs, outputs)

    def evaluate(self) -> Any:
        """By the evaluator.

        Raises:
            EvaluationStopped: a process was asked to stop.
            EvaluationFailedError: it failed in another process.
        """
        self._agree(failed=False)
        self._agreeing = True
        results = self._evaluator.evaluate()
        self._agree(failed=False)
        return results

    def failed(self) -> None:
        """Has to be called after an exception: tells the processes that wait to hear of this one."""
        if self._agreeing:
            self._agree(failed=True, quiet=True)

    def _agree(self, failed: bool, quiet: bool = False) -> None:
        self._agreeing = False
        signum, anywhere = largest([self._request.signum, failed])
        if quiet:
            return
        if anywhere:
            raise EvaluationFailedError("the evaluation failed in another process")
        if signum:
            raise EvaluationStopped(int(signum))
