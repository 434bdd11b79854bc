"""MS-DETR's selection as it is written: a vector computed by hand, a slow definition, and properties."""

from dataclasses import replace

import pytest
import torch

from querydet.config import load_config
from querydet.modeling.assigners import HungarianAssigner, UnionAssigner
from querydet.structures import Branch, PredictionSet, Targets
from tests.modeling.assigners.vector import LABELS, OBJECTS, pairs, recorded
from tests.models import make_predictions, make_small, make_targets
from tests.products import step_that_adds_nothing_to_inference

BY_OBJECT = {0: {0, 1, 2, 3, 6, 4}, 1: {4, 2, 3, 5, 1, 0}, 2: {8}}  # 8 by the union alone


def one_to_many(predictions: PredictionSet, one_to_one: PredictionSet | None = None) -> PredictionSet:
    return replace(predictions, branch=Branch.ONE_TO_MANY, one_to_one=one_to_one or predictions)


def random_sets(seed: int) -> tuple[PredictionSet, Targets]:
    """Predictions of both branches that agree little, so that many matches are not among an object's best."""
    return one_to_many(make_predictions(1, 20, seed=seed), make_predictions(1, 20, seed=seed + 50)), make_targets([6])


def by_definition(
    assigner: UnionAssigner, predictions: PredictionSet, targets: Targets
) -> dict[tuple[int, int], float]:
    """The pairs, each with its score, by loops."""
    scores = assigner.scores(predictions.logits, predictions.boxes, targets.labels[0], targets.boxes[0])[0].tolist()
    assert predictions.one_to_one is not None
    found = set(pairs(HungarianAssigner()(predictions.one_to_one, targets)[0]))
    for number, row in enumerate(scores):
        ranked = sorted(range(len(row)), key=lambda query, row=row: -row[query])[: assigner.max_queries]
        found |= {(query, number) for query in ranked if row[query] >= assigner.threshold}
    return {(query, number): scores[number][query] for query, number in found}


@pytest.mark.parametrize("alpha", [0.3, 0.4])
def test_pairs_of_the_vector(alpha: float) -> None:
    predictions, targets = recorded()
    (found,) = UnionAssigner(alpha=alpha, merge_with=HungarianAssigner())(one_to_many(predictions), targets)
    by_object: dict[int, set[int]] = {}
    for query, number in pairs(found):
        by_object.setdefault(number, set()).add(query)
    assert by_object == BY_OBJECT
    assert len(pairs(found)) == 13


def test_scores_of_the_vector() -> None:
    predictions, _ = recorded()
    found = UnionAssigner(merge_with=HungarianAssigner()).scores(predictions.logits, predictions.boxes, LABELS, OBJECTS)
    wanted = [
        [0.9523, 0.5501, 0.5081, 0.4507, 0.4072, 0.3303, 0.4285],
        [0.4072, 0.4507, 0.7735, 0.5501, 0.8000, 0.4981, 0.3027],
    ]
    torch.testing.assert_close(found[0, :2, :7], torch.tensor(wanted), atol=6e-5, rtol=0)
    assert found[0, 2, [0, 8]].tolist() == pytest.approx([0.3523, 0.3236], abs=6e-5)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("threshold", [0.0, 0.35, 0.9])
def test_agrees_with_the_definition_and_the_highest_score_of_a_query_is_last(seed: int, threshold: float) -> None:
    predictions, targets = random_sets(seed)
    assigner = UnionAssigner(threshold=threshold, max_queries=3, merge_with=HungarianAssigner())
    found, wanted = pairs(assigner(predictions, targets)[0]), by_definition(assigner, predictions, targets)
    assert len(found) == len(wanted)
    assert [wanted[pair] for pair in found] == sorted(wanted.values())


def test_the_union_adds_a_pair_and_takes_no_query_away() -> None:
    predictions, targets = random_sets(0)
    assert predictions.one_to_one is not None
    (match,) = HungarianAssigner()(predictions.one_to_one, targets)
    assigner = UnionAssigner(threshold=0.0, max_queries=4, merge_with=HungarianAssigner())
    scores = assigner.scores(predictions.logits, predictions.boxes, targets.labels[0], targets.boxes[0])[0]
    selected = {(query, number) for number, row in enumerate(scores.topk(4).indices.tolist()) for query in row}
    assert set(pairs(match)) - selected, "a match that is not among the best, or this tests nothing"
    assert set(pairs(assigner(predictions, targets)[0])) == selected | set(pairs(match))


def test_objects_choose_independently_of_each_other() -> None:
    """But for their one-to-one matches, which every object has whatever it chooses."""
    predictions, targets = random_sets(1)
    assigner = UnionAssigner(threshold=0.3, max_queries=3, merge_with=HungarianAssigner())
    every = set(pairs(assigner(predictions, targets)[0]))
    for number in range(6):
        alone = replace(targets, labels=(targets.labels[0][[number]],), boxes=(targets.boxes[0][[number]],))
        match = {query for query, _ in pairs(HungarianAssigner()(predictions.one_to_one, alone)[0])}
        assert {query for query, _ in pairs(assigner(predictions, alone)[0])} - match <= {
            query for query, which in every if which == number
        }


def test_no_objects_more_objects_than_queries_and_fewer_queries_than_k() -> None:
    assigner = UnionAssigner(merge_with=HungarianAssigner())
    for found in assigner(one_to_many(make_predictions(2, 4)), make_targets([0, 0])):
        assert found.queries.shape == found.objects.shape == (0,)
        assert found.queries.dtype == torch.int64
    (found,) = assigner(one_to_many(make_predictions(1, 3)), make_targets([9]))
    assert set(found.queries.tolist()) == {0, 1, 2}


def test_the_union_needs_the_one_to_one_predictions() -> None:
    with pytest.raises(ValueError, match="have no one-to-one predictions beside them"):
        UnionAssigner(merge_with=HungarianAssigner())(*recorded())
    assert UnionAssigner(merge_with=HungarianAssigner()).needs_one_to_one_branch
    assert UnionAssigner(merge_with=HungarianAssigner(boxes="start")).compares_start_boxes


def test_recipes_train_and_the_merged_one_has_the_boxes_of_the_one_to_many_branch_alone() -> None:
    model = load_config("projects/ms_detr/configs/ms_detr_r50_section3_12ep.py").model
    assigner = model.criterion.rules.one_to_many.assigner
    assert (assigner.alpha, assigner.threshold, assigner.max_queries) == (0.4, 0.4, 6)
    step_that_adds_nothing_to_inference(make_small(model))
    merged = load_config("projects/ms_detr/configs/ms_detr_r50_placement_a_merged_12ep.py").model
    losses = step_that_adds_nothing_to_inference(make_small(merged))
    assert {"loss_class", "loss_l1_enc", "loss_class_o2m", "loss_l1_o2m"} <= set(losses)
    assert not {"loss_l1", "loss_giou", "loss_l1_0", "loss_giou_0"} & set(losses)
