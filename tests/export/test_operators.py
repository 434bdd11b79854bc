"""This project's operators as PyTorch's own."""

import pytest
import torch

from querydet.export.operators import PortableOperators, define_suppress
from querydet.ops.suppression import suppress
from tests.ops.test_suppression import boxes_and_scores


@pytest.mark.parametrize("seed", range(3))
def test_the_definition_of_suppression_is_the_operator(seed: int) -> None:
    boxes, scores = boxes_and_scores(seed)
    scores[1, 2] = -torch.inf
    assert torch.equal(define_suppress(boxes, scores, 0.4), suppress(boxes, scores, 0.4))


def test_operators_are_replaced_within_the_context_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores = boxes_and_scores(0)
    operator, calls = torch.ops.querydet.suppress, []
    context = PortableOperators()
    monkeypatch.setitem(context.definitions, operator, lambda *given: calls.append(given) or define_suppress(*given))
    with context:
        operator(boxes, scores, 0.4)
    operator(boxes, scores, 0.4)
    assert len(calls) == 1
    assert operator not in PortableOperators(keep=[operator]).definitions
