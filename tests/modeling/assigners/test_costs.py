"""Costs of classes in matching: the published formula, for any number of objects, also of certain predictions."""

import pytest
import torch

from querydet.modeling.assigners.costs import focal_cost
from tests.reference import assignment as reference


def test_class_cost_by_hand() -> None:
    (found,) = focal_cost([torch.tensor([[2.0], [-1.0], [0.5]])], torch.tensor([0]), 0.25, 2.0)[0]
    torch.testing.assert_close(found, torch.tensor([-1.237107, 0.158474, -0.266165]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("objects", [0, 2, 5, 9])  # fewer than classes, as many, and more
def test_class_costs_agree_with_a_loop_over_sets_objects_and_queries(objects: int) -> None:
    generator = torch.Generator().manual_seed(objects)
    logits = [torch.randn(4, 5, generator=generator, dtype=torch.float64) for _ in range(3)]
    labels = torch.randint(5, (objects,), generator=generator)
    before = [each.clone() for each in logits]
    found = focal_cost(logits, labels, 0.25, 2.0)
    assert found.shape == (3, objects, 4)
    for which, values in enumerate(before):
        for row, label in enumerate(labels.tolist()):
            wanted = [reference.class_cost(values[query, label].item()) for query in range(4)]
            assert found[which, row].tolist() == pytest.approx(wanted, rel=1e-6)
        assert torch.equal(logits[which], values), "predictions are not changed"


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_class_costs_of_certain_predictions_are_finite(logit: float) -> None:
    assert focal_cost([torch.full((2, 3), logit)], torch.tensor([1]), 0.25, 2.0).isfinite().all()
