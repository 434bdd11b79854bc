"""An evaluation that all processes of a run end together, however it ends for one of them."""

from collections.abc import Iterator
from typing import Any

from detectron2.evaluation import DatasetEvaluator

from querydet.data.workers import WorkerError
from querydet.engine.distributed.agreement import largest
from querydet.engine.faults.stopping import EvaluationStopped, StopRequest, watch_requests


class EvaluationFailedError(RuntimeError):
    """The evaluation failed in another process, whose log has the reason."""


class SharedEvaluation(DatasetEvaluator):
    """A loader whose batches end when this process receives a request to stop, and an evaluator, in one.

    All processes run through their batches, or stop early, and then agree on whether to go on; and again when the
    results are there. None waits for something that another one does not have.

    Args:
        loader: yields batches of the test data.
        evaluator: evaluates the predictions.
        request: requests to stop that this process receives.
    """

    def __init__(self, loader: Any, evaluator: DatasetEvaluator, request: StopRequest) -> None:
        self._loader = loader
        self._evaluator = evaluator
        self._request = request
        self._agreeing = True
        watch_requests(loader, request)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        try:
            for batch in self._loader:
                if self._request.signum:
                    return
                yield batch
        except WorkerError:
            if not self._request.signum:
                raise

    def reset(self) -> None:
        """Reset the evaluator."""
        self._evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        """Let the evaluator process a batch."""
        self._evaluator.process(inputs, outputs)

    def evaluate(self) -> Any:
        """Let the evaluator compute the results, in all processes or none.

        Raises:
            EvaluationStopped: a process received a request to stop.
            EvaluationFailedError: it failed in another process.
        """
        self._agree(failed=False)
        self._agreeing = True
        results = self._evaluator.evaluate()
        self._agree(failed=False)
        return results

    def failed(self) -> None:
        """Report an exception of this process to those that wait for it; has to be called after every exception."""
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
