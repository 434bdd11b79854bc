"""What the losses of a group are divided by."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from querydet.modeling.no_object import SoftmaxLoss
from querydet.modeling.normalizers import LocalObjects, MeanObjects, MeanRepeatedObjects, WeightedQueries
from querydet.structures import ObjectCount, PredictionSet
from tests.models import make_predictions, make_targets


@pytest.mark.parametrize(
    ("step", "wanted"),
    [  # this process has 3 and 2 objects
        (ObjectCount((3, 2)), (20.0, 20.0, 20.0)),
        (ObjectCount((3, 2, 11, 0), num_micro_batches=2), (32.0, 32.0, 20.0)),
        (ObjectCount((1, 0), num_micro_batches=2), (2.0, 2.0, 20.0)),
        (ObjectCount((0, 0), num_micro_batches=2), (2.0, 0.5, 20.0)),
    ],
)
def test_divisors_of_a_group_with_four_queries_for_each_object(step: ObjectCount, wanted: tuple[float, ...]) -> None:
    targets = replace(make_targets([3, 2]), step=step)
    predictions = make_predictions(2, 8)
    predictions = replace(predictions, group=replace(predictions.group, loss_divisor=4))
    found = [kind()(predictions, targets) for kind in (MeanObjects, MeanRepeatedObjects, LocalObjects)]
    assert found == list(wanted)


def test_without_objects_nothing_is_divided_by_zero() -> None:
    predictions, targets = make_predictions(2, 8), make_targets([0, 0])
    assert [kind()(predictions, targets) for kind in (MeanObjects, MeanRepeatedObjects, LocalObjects)] == [1, 1, 1]


@pytest.mark.parametrize(("objects", "wanted"), [([3, 2], 15.0), ([0, 0], 1.0), ([1, 0], 3.0)])
def test_every_object_may_count_several_times(objects: list[int], wanted: float) -> None:
    """The least divisor is one object, and not one object counted several times (DAC-DETR's released code)."""
    assert MeanObjects(times=3.0)(make_predictions(2, 8), make_targets(objects)) == wanted
    with pytest.raises(ValueError, match="positive, found 0"):
        MeanObjects(times=0)


def softmax_predictions(images: int, queries: int) -> PredictionSet:
    return replace(make_predictions(images, queries), logits=torch.zeros(images, queries, 5))


@pytest.mark.parametrize("counts", [[13, 0], [13, 2], [1, 1], [0, 0], [20, 30, 4]])
def test_the_weight_of_queries_is_that_of_torchs_weighted_cross_entropy(counts: list[int]) -> None:
    """With logits of zero every query has the same loss, so that torch's mean is 1 of these losses."""
    labels = torch.full((len(counts), 9), 5)
    for row, count in zip(labels, counts, strict=True):
        row[: min(count, 9)] = 0
    logits = torch.zeros(len(counts), 6, 9)
    weights = torch.tensor([1.0] * 5 + [0.1])
    total = F.cross_entropy(logits, labels, weights, reduction="sum")
    mean = F.cross_entropy(logits, labels, weights)
    found = WeightedQueries(0.1)(softmax_predictions(len(counts), 9), make_targets(counts))
    assert found == pytest.approx((total / mean).item(), rel=1e-6)


def test_a_crowd_in_one_image_does_not_take_the_queries_of_another() -> None:
    assert WeightedQueries(0.1)(softmax_predictions(2, 9), make_targets([13, 0])) == pytest.approx(9.9)


def test_parts_of_a_step_have_the_weight_of_the_whole() -> None:
    """Two processes, of which one has three images: the mean of their losses is that of the whole batch."""
    normalizer = SoftmaxLoss(weight=1.0).normalizer
    counts = [13, 0, 2, 7]
    whole = normalizer(softmax_predictions(4, 9), make_targets(counts))
    step = ObjectCount(tuple(counts), num_micro_batches=2)
    parts = [
        normalizer(softmax_predictions(len(part), 9), replace(make_targets(part), step=step))
        for part in (counts[:3], counts[3:])
    ]
    assert parts == [whole / 2, whole / 2]
