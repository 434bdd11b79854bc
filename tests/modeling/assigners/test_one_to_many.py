"""MS-DETR's one-to-many assignment: the numbers of the released code, and properties."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from querydet.modeling.assigners import HungarianAssigner, OneToManyAssigner
from querydet.modeling.assigners.one_to_many import merge
from querydet.modeling.joining import join
from querydet.modeling.losses import FocalLoss, GIoULoss, L1Loss
from querydet.structures import Assignment, Branch, PredictionSet, Targets
from tests.modeling.assigners.vector import BOXES, HUNGARIAN, LABELS, OBJECTS, pairs, recorded
from tests.models import make_predictions, make_targets

# What the released assigner, matcher and losses give for the predictions of `vector`. Query 8 is forced below the
# threshold; query 6 is positive for object 0 but loses its place to query 2, which belongs to objects 0 and 1 and has
# the class of the latter, where it scores higher.
SCORES = [
    [0.9642, 0.6387, 0.5898, 0.5228, 0.4721, 0.3823, 0.4969, 0.0054, 0.0807],
    [0.4721, 0.5228, 0.7806, 0.6387, 0.8500, 0.5781, 0.3502, 0.0054, 0.0054],
    [0.2642, 0.0054, 0.0054, 0.0054, 0.0054, 0.0054, 0.0054, 0.0054, 0.3327],
]
PAIRS = [(8, 2), (5, 1), (2, 0), (1, 0), (3, 1), (2, 1), (4, 1), (0, 0)]


def one_to_many(predictions: PredictionSet) -> PredictionSet:
    """The predictions as those of a one-to-many read-out, whose one-to-one read-out predicts the same."""
    return replace(predictions, branch=Branch.ONE_TO_MANY, one_to_one=predictions)


def test_scores_of_the_released_code() -> None:
    predictions, _ = recorded()
    found = OneToManyAssigner().scores(predictions.logits, predictions.boxes, LABELS, OBJECTS)
    torch.testing.assert_close(found[0, :, :9], torch.tensor(SCORES), atol=5e-5, rtol=0)


def test_pairs_of_the_released_code() -> None:
    assert pairs(OneToManyAssigner()(*recorded())[0]) == PAIRS
    assert pairs(HungarianAssigner()(*recorded())[0]) == HUNGARIAN


def test_union_with_the_one_to_one_match_leaves_each_query_one_object() -> None:
    predictions, targets = recorded()
    found = OneToManyAssigner(merge_with=HungarianAssigner())(one_to_many(predictions), targets)
    assert pairs(found[0]) == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (5, 1), (8, 2)]


def test_union_adds_objects_that_no_query_scores_high_for() -> None:
    predictions, targets = recorded()
    assigner = OneToManyAssigner(forced=False, merge_with=HungarianAssigner())
    assert 2 not in OneToManyAssigner(forced=False)(predictions, targets)[0].objects
    assert (8, 2) in pairs(assigner(one_to_many(predictions), targets)[0])


def test_union_by_hand() -> None:
    first = Assignment(torch.tensor([4, 1]), torch.tensor([0, 1]))
    last = Assignment(torch.tensor([3, 1, 3]), torch.tensor([0, 0, 1]))
    assert pairs(merge(first, last, 6)) == [(1, 0), (3, 1), (4, 0)]


def test_the_union_needs_the_one_to_one_predictions() -> None:
    with pytest.raises(ValueError, match="have no one-to-one predictions beside them"):
        OneToManyAssigner(merge_with=HungarianAssigner())(*recorded())


@pytest.mark.parametrize(
    ("assigner", "wanted"),
    [
        (HungarianAssigner(), (0.104019, 0.040667, 0.279400)),
        (OneToManyAssigner(), (1.043861, 0.060000, 0.458544)),
    ],
)
def test_losses_of_the_released_code(assigner, wanted: tuple[float, float, float]) -> None:
    predictions, targets = recorded()
    joined, matched = join([predictions], [assigner(predictions, targets)], targets)
    for loss, value in zip((FocalLoss(weight=1.0), L1Loss(weight=1.0), GIoULoss(weight=1.0)), wanted, strict=True):
        assert loss(joined, matched).sum().item() / 3 == pytest.approx(value, abs=2e-6)


def test_k_limits_the_queries_of_an_object() -> None:
    found = OneToManyAssigner(max_queries=2)(*recorded())[0]
    assert found.objects.bincount().tolist() == [2, 2, 1]


def test_alpha_weighs_class_against_box() -> None:
    predictions, _ = recorded()
    arguments = (predictions.logits, predictions.boxes, LABELS, OBJECTS)
    boxes, classes = OneToManyAssigner(alpha=0.0).scores(*arguments), OneToManyAssigner(alpha=1.0).scores(*arguments)
    assert boxes[0, 0, 0] == 1
    torch.testing.assert_close(classes[0], predictions.logits[0].sigmoid()[:, LABELS].T)
    mixed = OneToManyAssigner(alpha=0.3).scores(*arguments)
    torch.testing.assert_close(mixed, 0.3 * classes + 0.7 * boxes)


def crowded() -> tuple[PredictionSet, Targets]:
    """Sixteen queries on each of two objects: all positive, more than a quarter of forty."""
    predictions, targets = recorded()
    boxes = BOXES.clone()
    boxes[:16], boxes[16:32] = OBJECTS[0], OBJECTS[2]
    return replace(predictions, boxes=boxes[None]), targets


def test_the_random_cap_depends_on_the_image_seed_and_the_layer_alone() -> None:
    predictions, targets = crowded()
    assigner = OneToManyAssigner(max_queries=40)

    def found(seed: int, layer: int = 0) -> list[tuple[int, int]]:
        return pairs(assigner(replace(predictions, layer=layer), replace(targets, seeds=(seed,)))[0])

    assert len(found(5)) <= 10
    assert found(5) == found(5)
    assert len({len([pair for pair in found(seed) if pair[1] == 0]) for seed in range(20)}) > 1
    assert len({len([pair for pair in found(5, layer) if pair[1] == 0]) for layer in range(20)}) > 1


def test_without_a_cap_nothing_is_random() -> None:
    predictions, targets = crowded()
    assigner = OneToManyAssigner(max_queries=40, positive_fraction=None)
    state = torch.random.get_rng_state()
    found = assigner(predictions, replace(targets, seeds=(None,)))[0]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found.objects.bincount().tolist() == [16, 0, 16]


def test_permuting_objects_permutes_the_assignment() -> None:
    predictions, targets = make_predictions(1, 30), make_targets([4])
    order = torch.tensor([2, 0, 3, 1])
    permuted = replace(targets, labels=(targets.labels[0][order],), boxes=(targets.boxes[0][order],))
    assigner = OneToManyAssigner(positive_fraction=None)
    (first,), (second,) = assigner(predictions, targets), assigner(predictions, permuted)
    assert torch.equal(first.queries, second.queries)
    assert torch.equal(first.objects, order[second.objects])


def test_an_image_of_a_batch_is_assigned_like_the_image_alone() -> None:
    predictions, targets = make_predictions(3, 30), make_targets([4, 0, 2])
    together = OneToManyAssigner()(predictions, targets)
    for image in range(3):
        alone = replace(
            predictions, logits=predictions.logits[image : image + 1], boxes=predictions.boxes[image : image + 1]
        )
        one = replace(
            targets,
            labels=targets.labels[image : image + 1],
            boxes=targets.boxes[image : image + 1],
            seeds=targets.seeds[image : image + 1],
        )
        assert pairs(OneToManyAssigner()(alone, one)[0]) == pairs(together[image])


@pytest.mark.parametrize("merge_with", [None, HungarianAssigner()])
def test_no_objects_more_objects_than_queries_and_fewer_queries_than_k(merge_with: HungarianAssigner | None) -> None:
    assigner = OneToManyAssigner(merge_with=merge_with)
    for found in assigner(one_to_many(make_predictions(2, 4)), make_targets([0, 0])):
        assert found.queries.shape == found.objects.shape == (0,)
        assert found.queries.dtype == torch.int64
    (found,) = assigner(one_to_many(make_predictions(1, 3)), make_targets([9]))
    assert set(found.queries.tolist()) <= {0, 1, 2}
    (found,) = assigner(one_to_many(make_predictions(1, 1, classes=1)), make_targets([1], num_classes=1))
    assert pairs(found) == [(0, 0)]


def test_boxes_without_area_score_by_class_alone() -> None:
    empty = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    scores: Tensor = OneToManyAssigner().scores(torch.zeros(1, 1, 2), empty[None], torch.tensor([0]), empty)
    assert scores.item() == pytest.approx(0.15)


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match="alpha must lie in"):
        OneToManyAssigner(alpha=1.5)
    with pytest.raises(ValueError, match="max_queries be at least 1"):
        OneToManyAssigner(max_queries=0)
    with pytest.raises(ValueError, match="positive_fraction must lie in"):
        OneToManyAssigner(positive_fraction=25)


def test_the_iou_may_be_that_of_the_one_to_one_predictions() -> None:
    predictions, targets = recorded()
    moved = replace(one_to_many(predictions), boxes=predictions.boxes.roll(1, 1))
    assert pairs(OneToManyAssigner(iou_of="one_to_one")(moved, targets)[0]) == PAIRS
    assert pairs(OneToManyAssigner()(moved, targets)[0]) != PAIRS
    with pytest.raises(ValueError, match="have no one-to-one predictions beside them"):
        OneToManyAssigner(iou_of="one_to_one")(predictions, targets)


def test_pairs_in_the_order_of_objects() -> None:
    """As DAC-DETR's released code lists them, for the same predictions in both streams."""
    (found,) = OneToManyAssigner(iou_of="one_to_one", order="object")(one_to_many(recorded()[0]), recorded()[1])
    assert pairs(found) == [(0, 0), (1, 0), (2, 0), (4, 1), (2, 1), (3, 1), (5, 1), (8, 2)]


@pytest.mark.parametrize(("fraction", "limit", "wanted"), [(None, 7, 7), (0.25, 7, 7), (0.1, 7, 4), (None, None, 32)])
def test_a_limit_of_positives_counts_beside_their_fraction(
    fraction: float | None, limit: int | None, wanted: int
) -> None:
    predictions, targets = crowded()
    assigner = OneToManyAssigner(positive_fraction=fraction, positive_limit=limit, max_queries=40)
    (found,) = assigner(predictions, targets)
    assert abs(len(found.queries) - wanted) <= 1, "the best query of an object without overlap is forced"


@pytest.mark.parametrize("options", [{"positive_limit": 0}, {"iou_of": "other"}, {"order": "query"}])
def test_options_that_do_not_exist(options) -> None:
    with pytest.raises(ValueError, match=f"found .*{next(iter(options.values()))}"):
        OneToManyAssigner(**options)
