"""Assignment by overlap: the vectors that the authors' assigners produced, and properties."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.modeling.matcher import Matcher
from torch import Tensor

from querydet.modeling.assigners import IoUAssigner
from querydet.modeling.assigners.ranking import ThresholdMatcher
from querydet.modeling.criterion import SupervisionRule
from querydet.modeling.joining import join
from querydet.modeling.losses import FocalLoss, GIoULoss, L1Loss
from querydet.structures import ObjectCount, PredictionSet, QueryGroup, Stage, Targets
from tests.models import make_predictions, make_targets

QUERIES = torch.tensor(
    [[x, 0.3, 0.2, 0.2] for x in (0.30, 0.31, 0.318, 0.33, 0.34, 0.36)]
    + [[0.3, 0.335, 0.2, 0.2], [0.5, 0.5, 0.1, 0.1], [0.78, 0.8, 0.06, 0.06]]
    + [[0.1, 0.9, 0.05, 0.05], [0.9, 0.1, 0.05, 0.05], [0.5, 0.9, 0.05, 0.05]]
    + [[0.95, 0.5, 0.02, 0.02]] * 28
)
OBJECTS = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.34, 0.3, 0.2, 0.2], [0.8, 0.8, 0.1, 0.1]])


def official(threshold: float = 0.6, **arguments: object) -> IoUAssigner:
    matcher = Matcher([threshold], [0, 1], allow_low_quality_matches=True)
    return IoUAssigner(matcher=matcher, **arguments)  # type: ignore[arg-type]


def start_from(boxes: Tensor, logits: Tensor | None = None) -> PredictionSet:
    return PredictionSet(
        stage=Stage.DECODER,
        layer=0,
        is_last=True,
        group=QueryGroup("primary", 0, len(boxes)),
        logits=torch.zeros(1, len(boxes), 3) if logits is None else logits[None],
        boxes=boxes[None],
        start_boxes=boxes[None],
    )


def objects(boxes: Tensor, labels: Tensor | None = None, seed: int | None = 0) -> Targets:
    labels = torch.zeros(len(boxes), dtype=torch.int64) if labels is None else labels
    return Targets((labels,), (boxes,), ("image.jpg",), (seed,), ObjectCount((len(boxes),)))


def pairs(assigner: IoUAssigner, queries: Tensor, gt_boxes: Tensor, seed: int | None = 0) -> list[tuple[int, int]]:
    (found,) = assigner(start_from(queries), objects(gt_boxes, seed=seed))
    return list(zip(found.queries.tolist(), found.objects.tolist(), strict=True))


def test_overlaps_of_the_vector() -> None:
    found = official().iou(QUERIES, OBJECTS)
    wanted = torch.tensor(
        [
            [1, 0.9048, 0.8349, 0.7391, 0.6667, 0.5385, 0.7021, 0, 0],
            [0.6667, 0.7391, 0.8018, 0.9048, 1, 0.8182, 0.4925, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0, 0.36],
        ]
    )
    torch.testing.assert_close(found[:, :9], wanted, atol=6e-5, rtol=0)


def test_pairs_of_the_vector_in_their_order() -> None:
    """Query 3 serves two objects, query 6 loses its place to a better one of another object, query 8 is forced."""
    wanted = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (3, 1), (5, 1), (8, 2)]
    assert pairs(official(), QUERIES, OBJECTS) == wanted
    assert pairs(official(positive_fraction=0.25), QUERIES, OBJECTS) == wanted  # a cap of 10 that 8 positives pass
    assert pairs(IoUAssigner(matcher=ThresholdMatcher(threshold=0.6)), QUERIES, OBJECTS) == wanted


def test_losses_of_the_vector() -> None:
    logits = torch.full((40, 3), -4.0)
    for query, label, value in ((0, 1, 2.0), (2, 2, 1.0), (4, 2, 0.0), (8, 1, -1.0)):
        logits[query, label] = value
    predicted, targets = start_from(QUERIES, logits), objects(OBJECTS, torch.tensor([1, 2, 1]))
    joined, matched = join([predicted], [official()(predicted, targets)], targets)
    found = [
        term(joined, matched).sum().item() / 3 for term in (FocalLoss(weight=1), L1Loss(weight=1), GIoULoss(weight=1))
    ]
    assert found == pytest.approx([1.540347, 0.062667, 0.479434], abs=2e-6)


def test_an_object_that_overlaps_nothing_makes_every_query_positive_with_detectron2s_matcher_alone() -> None:
    queries = torch.cat(
        [torch.rand(100, 2, generator=torch.Generator().manual_seed(0)) * 0.4, torch.full((100, 2), 0.2)], 1
    )
    gt_boxes = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.9, 0.9, 0.05, 0.05]])
    labels = Matcher([0.6], [0, 1], allow_low_quality_matches=True)(official().iou(queries, gt_boxes))[1]
    assert (labels == 1).all()
    assert [number for _, number in pairs(official(), queries, gt_boxes)] == [0] * 4
    single = IoUAssigner(matcher=ThresholdMatcher(threshold=0.9))
    assert len(pairs(single, queries, gt_boxes)) < 4


def test_a_forced_query_that_prefers_another_object_leaves_the_first_without() -> None:
    gt_boxes = torch.tensor([[0.5, 0.5, 0.30, 0.30], [0.5, 0.5, 0.31, 0.31]])
    queries = torch.tensor(
        [[0.5, 0.5, 0.36, 0.36], [0.1, 0.1, 0.05, 0.05], [0.9, 0.1, 0.05, 0.05], [0.1, 0.9, 0.1, 0.1]]
    )
    assert pairs(official(), queries, gt_boxes) == [(0, 1)]


@pytest.mark.parametrize("low", [0.3, 0.01])
def test_the_band_between_two_thresholds_changes_no_pair(low: float) -> None:
    matcher = Matcher([low, 0.7], [0, -1, 1], allow_low_quality_matches=True)
    assert pairs(IoUAssigner(matcher=matcher), QUERIES, OBJECTS) == pairs(official(0.7), QUERIES, OBJECTS)
    capped = IoUAssigner(matcher=matcher, positive_fraction=0.5, num_samples=256)
    assert pairs(capped, QUERIES, OBJECTS) == pairs(official(0.7), QUERIES, OBJECTS)


def test_k() -> None:
    assert pairs(official(max_queries=1), QUERIES, OBJECTS) == [(0, 0), (4, 1), (8, 2)]
    assert len(pairs(official(max_queries=400), QUERIES, OBJECTS)) == 8


def test_the_cap_is_drawn_from_the_seed_of_the_image_alone() -> None:
    capped = official(positive_fraction=0.1, max_queries=8)  # 4 of the 8 positives
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = pairs(capped, QUERIES, OBJECTS, seed=5)
    assert torch.equal(torch.get_rng_state(), state), "the default generator is left alone"
    torch.manual_seed(2)
    assert pairs(capped, QUERIES, OBJECTS, seed=5) == first
    assert len({tuple(pairs(capped, QUERIES, OBJECTS, seed=seed)) for seed in range(20)}) > 1
    assert all(len(pairs(capped, QUERIES, OBJECTS, seed=seed)) <= 4 for seed in range(20))
    pairs(capped, QUERIES, OBJECTS, seed=None)
    assert not torch.equal(torch.get_rng_state(), state), "without a seed the default generator is used"


def test_without_a_cap_nothing_is_drawn() -> None:
    state = torch.get_rng_state()
    pairs(official(), QUERIES, OBJECTS, seed=None)
    assert torch.equal(torch.get_rng_state(), state)


def test_permuting_objects_permutes_the_pairs() -> None:
    order = torch.tensor([2, 0, 1])
    permuted = [(query, int(order[number])) for query, number in pairs(official(), QUERIES, OBJECTS[order])]
    assert sorted(permuted) == sorted(pairs(official(), QUERIES, OBJECTS))


def test_predictions_play_no_part() -> None:
    assigner, targets = official(), make_targets([3, 2])
    first, second = make_predictions(2, 30, seed=0), make_predictions(2, 30, seed=1)
    second = replace(second, start_boxes=first.start_boxes)
    for one, other in zip(assigner(first, targets), assigner(second, targets), strict=True):
        assert torch.equal(one.queries, other.queries)
        assert torch.equal(one.objects, other.objects)


@pytest.mark.parametrize("positive_fraction", [None, 0.25])
def test_images_without_objects_and_fewer_queries_than_k(positive_fraction: float | None) -> None:
    assigner = official(positive_fraction=positive_fraction)
    for found in assigner(make_predictions(2, 4), make_targets([0, 0])):
        assert found.queries.shape == found.objects.shape == (0,)
        assert found.queries.dtype is torch.int64
    (few,) = assigner(make_predictions(1, 2), make_targets([5]))
    assert set(few.queries.tolist()) <= {0, 1}


def test_objects_without_area() -> None:
    assert len(pairs(official(), QUERIES, torch.tensor([[0.3, 0.3, 0.0, 0.0]]))) <= 4
    point = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert len(pairs(official(), point, point)) == 1


def test_one_assignment_serves_all_layers() -> None:
    """The rule asks the assigner once for a group, and random caps do not change from layer to layer."""
    asked = []

    class Counting(IoUAssigner):
        def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple:
            asked.extend(each.layer for each in predictions)
            return super().compute(predictions, targets)

    rule = SupervisionRule(
        stage="decoder",
        assigner=Counting(matcher=ThresholdMatcher(threshold=0.6), positive_fraction=0.25),
        losses={"l1": L1Loss(weight=1.0)},
        assign_once=True,
    )
    first = replace(make_predictions(1, 30), layer=0)
    losses = rule((first, replace(first, layer=1), replace(first, layer=2, is_last=True)), make_targets([3]))
    assert asked == [0]
    assert len(losses) == 3
    assert len({value.item() for value in losses.values()}) == 1


def test_matcher_from_a_config() -> None:
    matcher = L(Matcher)(thresholds=[0.3, 0.7], labels=[0, -1, 1], allow_low_quality_matches=True)
    assigner = instantiate(L(IoUAssigner)(matcher=matcher, max_queries=4))
    assert pairs(assigner, QUERIES, OBJECTS) == pairs(official(0.7), QUERIES, OBJECTS)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"start from points, which have no IoU .*model\.selection"):
        official()(replace(make_predictions(1, 4), start_boxes=torch.rand(1, 4, 2)), make_targets([1]))
    with pytest.raises(ValueError, match="must be at least 1, found 0 and None"):
        official(max_queries=0)
    with pytest.raises(ValueError, match=r"positive_fraction must be in \(0, 1\] or None, found 1\.5"):
        official(positive_fraction=1.5)
