"""Evaluations that end together, with unequal numbers of batches, requests to stop and failures."""

import signal

import pytest
from detectron2.evaluation import inference_on_dataset
from torch import nn

from querydet.engine.distributed.shared_evaluation import EvaluationFailedError, SharedEvaluation
from querydet.engine.faults.stopping import EvaluationStopped, StopRequest
from tests.engine.two_processes import in_two_processes


class Counter:
    """An evaluator that counts batches, and can fail at one."""

    def __init__(self, fail_at=None):
        self.fail_at = fail_at

    def reset(self):
        self.count = 0

    def process(self, inputs, outputs):
        self.count += 1
        if self.count == self.fail_at:
            raise ZeroDivisionError

    def evaluate(self):
        return {"batches": self.count}


def run(batches, evaluator, request=None):
    shared = SharedEvaluation(batches, evaluator, request or StopRequest())
    try:
        return inference_on_dataset(nn.Identity(), shared, shared)
    except Exception:
        shared.failed()
        raise


def requested(signum=signal.SIGTERM):
    request = StopRequest()
    request.signum = signum
    return request


def test_all_batches_are_evaluated_unless_there_is_a_request_to_stop():
    assert run([1, 2, 3], Counter()) == {"batches": 3}
    evaluator = Counter()
    with pytest.raises(EvaluationStopped) as stopped:
        run([1, 2, 3], evaluator, requested())
    assert stopped.value.signum == signal.SIGTERM
    assert evaluator.count == 0


def test_processes_with_unequal_numbers_of_batches_end_together(tmp_path):
    assert in_two_processes(lambda rank: run([0] * (1 + rank), Counter()), tmp_path) == [
        {"batches": 1},
        {"batches": 2},
    ]


def test_a_request_to_one_process_stops_both(tmp_path):
    def evaluate(rank):
        try:
            return run([0, 1], Counter(), requested() if rank else None)
        except EvaluationStopped as stopped:
            return stopped.signum

    assert in_two_processes(evaluate, tmp_path) == [signal.SIGTERM] * 2


@pytest.mark.parametrize("part", ["process", "evaluate"])
def test_a_failure_in_one_process_is_one_in_the_other_and_none_waits(tmp_path, monkeypatch, part):
    def evaluate(rank):
        evaluator = Counter(fail_at=1 if rank and part == "process" else None)
        if rank and part == "evaluate":
            monkeypatch.setattr(evaluator, "evaluate", lambda: 1 / 0)
        try:
            return run([0, 1], evaluator)
        except Exception as error:
            return type(error)

    assert in_two_processes(evaluate, tmp_path) == [EvaluationFailedError, ZeroDivisionError]
