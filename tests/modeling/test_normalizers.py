"""What the losses of a group are divided by."""

from dataclasses import replace

import pytest

from querydet.modeling.normalizers import LocalObjects, MeanObjects, MeanRepeatedObjects
from tests.models import make_predictions, make_targets


@pytest.mark.parametrize(
    ("mean", "wanted"),
    [  # objects of a process, averaged; this one has 3 and 2
        (5.0, (20.0, 20.0, 20.0)),
        (8.0, (32.0, 32.0, 20.0)),
        (0.5, (4.0, 2.0, 20.0)),
    ],
)
def test_divisors_of_a_group_with_four_queries_for_each_object(mean: float, wanted: tuple[float, ...]) -> None:
    targets = replace(make_targets([3, 2]), mean_objects_per_micro_batch=mean)
    predictions = make_predictions(2, 8)
    predictions = replace(predictions, group=replace(predictions.group, loss_divisor=4))
    found = [kind()(predictions, targets) for kind in (MeanObjects, MeanRepeatedObjects, LocalObjects)]
    assert found == list(wanted)


def test_without_objects_nothing_is_divided_by_zero() -> None:
    predictions, targets = make_predictions(2, 8), make_targets([0, 0])
    assert [kind()(predictions, targets) for kind in (MeanObjects, MeanRepeatedObjects, LocalObjects)] == [1, 1, 1]
