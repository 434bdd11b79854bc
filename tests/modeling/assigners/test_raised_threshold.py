"""DETA's equation 4 as it is written: a vector computed by hand, a slow definition, and properties."""

import pytest
import torch
from torch import Tensor

from querydet.config import load_config
from querydet.modeling.assigners import RaisedThresholdAssigner
from querydet.modeling.boxes import box_iou, cxcywh_to_xyxy
from querydet.modeling.criterion import SupervisionRule
from querydet.modeling.losses import L1Loss
from querydet.structures import ObjectCount, PredictionSet, QueryGroup, Stage, Targets
from tests.modeling.assigners.vector import BOXES, OBJECTS
from tests.models import make_small
from tests.products import step_that_adds_nothing_to_inference

VECTOR = [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (8, 2)]


def start_from(boxes: Tensor) -> PredictionSet:
    group = QueryGroup("primary", 0, len(boxes))
    return PredictionSet(
        stage=Stage.DECODER,
        layer=0,
        is_last=True,
        group=group,
        logits=torch.zeros(1, len(boxes), 3),
        boxes=boxes[None],
        start_boxes=boxes[None],
    )


def objects(boxes: Tensor, seed: int | None = 0) -> Targets:
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    return Targets((labels,), (boxes,), ("image.jpg",), (seed,), ObjectCount((len(boxes),)))


def pairs(
    assigner: RaisedThresholdAssigner, queries: Tensor = BOXES, gt_boxes: Tensor = OBJECTS, seed: int | None = 0
) -> list[tuple[int, int]]:
    (found,) = assigner(start_from(queries), objects(gt_boxes, seed))
    assert found.queries.dtype == found.objects.dtype == torch.int64
    return list(zip(found.queries.tolist(), found.objects.tolist(), strict=True))


def by_definition(iou: Tensor, threshold: float, n: int | None) -> list[tuple[int, int]]:
    """The equation, one query at a time, on nested lists."""
    rows, found = iou.tolist(), []
    for query in range(iou.shape[1]):
        k = max(range(len(rows)), key=lambda row, query=query: rows[row][query])
        value = rows[k][query]
        raised = threshold if n is None else max(threshold, sorted(rows[k], reverse=True)[min(n, len(rows[k])) - 1])
        if value > 0 and (value >= raised or value == max(rows[k])):
            found.append((query, k))
    return found


def test_pairs_of_the_vector() -> None:
    assert pairs(RaisedThresholdAssigner(threshold=0.6, max_queries=4)) == VECTOR
    assert pairs(RaisedThresholdAssigner(threshold=0.6, max_queries=None)) == sorted([*VECTOR, (6, 0)])
    assert pairs(RaisedThresholdAssigner(threshold=0.6, max_queries=1)) == [(0, 0), (4, 1), (8, 2)]


@pytest.mark.parametrize("n", [None, 1, 3, 50])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_definition(seed: int, n: int | None) -> None:
    torch.manual_seed(seed)
    gt_boxes = torch.rand(5, 4) * 0.4 + 0.2
    queries = torch.cat([gt_boxes + 0.03 * torch.randn(5, 4) for _ in range(8)]).clamp(0.01, 0.99)
    queries[7], queries[30] = queries[12], queries[12]  # equal overlaps, of which all or none counts
    assigner = RaisedThresholdAssigner(threshold=0.6, max_queries=n)
    iou = box_iou(cxcywh_to_xyxy(gt_boxes)[:, None], cxcywh_to_xyxy(queries)[None])
    assert pairs(assigner, queries, gt_boxes) == by_definition(iou, 0.6, n)


def test_a_query_has_one_object_and_an_object_at_most_n_queries() -> None:
    torch.manual_seed(0)
    found = pairs(RaisedThresholdAssigner(threshold=0.1, max_queries=3), torch.rand(60, 4), torch.rand(9, 4))
    queries, taken = zip(*found, strict=True)
    assert len(set(queries)) == len(queries)
    assert max(taken.count(number) for number in set(taken)) <= 3


def test_equally_good_queries_are_all_positive() -> None:
    queries = OBJECTS[:1].expand(3, 4)
    assert pairs(RaisedThresholdAssigner(threshold=0.6, max_queries=1), queries) == [(0, 0), (1, 0), (2, 0)]


def test_an_object_that_nothing_overlaps_has_no_query() -> None:
    far = torch.tensor([[0.05, 0.05, 0.02, 0.02]])
    assert pairs(RaisedThresholdAssigner(threshold=0.6), gt_boxes=far) == []


def test_an_object_whose_best_query_prefers_another_has_none() -> None:
    gt_boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.3, 0.3]])
    assert pairs(RaisedThresholdAssigner(threshold=0.4), gt_boxes[:1], gt_boxes) == [(0, 0)]


def test_the_limit_holds_for_the_final_pairs_and_is_drawn_from_the_seed_of_the_image() -> None:
    assigner = RaisedThresholdAssigner(threshold=0.6, positive_fraction=0.1)
    drawn = {tuple(pairs(assigner, seed=seed)) for seed in range(20)}
    assert all(len(found) == 4 and set(found) <= set(VECTOR) for found in drawn)
    assert len(drawn) > 1
    assert pairs(assigner, seed=3) == pairs(assigner, seed=3)
    limited = RaisedThresholdAssigner(threshold=0.6, positive_fraction=0.5, num_samples=10)
    assert len(pairs(limited)) == 5
    assert pairs(RaisedThresholdAssigner(threshold=0.6, positive_fraction=0.25)) == VECTOR


def test_no_objects_and_fewer_queries_than_n() -> None:
    assigner = RaisedThresholdAssigner(threshold=0.6, max_queries=4, positive_fraction=0.5)
    assert pairs(assigner, gt_boxes=torch.zeros(0, 4)) == []
    assert pairs(assigner, queries=torch.zeros(0, 4)) == []
    assert pairs(RaisedThresholdAssigner(threshold=0.6), queries=OBJECTS[:2]) == [(0, 0), (1, 1)]


def test_layers_of_the_decoder_share_the_pairs_of_the_proposals() -> None:
    first = start_from(BOXES)
    rule = SupervisionRule(
        stage="decoder",
        assigner=RaisedThresholdAssigner(threshold=0.6),
        losses={"l1": L1Loss(weight=1.0)},
        assign_once=True,
    )
    assert len(rule.request([first, first], objects(OBJECTS)).predictions) == 1


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match="max_queries and num_samples must be at least 1"):
        RaisedThresholdAssigner(threshold=0.6, max_queries=0)
    with pytest.raises(ValueError, match="positive_fraction must be in"):
        RaisedThresholdAssigner(threshold=0.6, positive_fraction=25)


def test_the_recipe_has_the_numbers_of_the_paper_and_trains() -> None:
    model = load_config("projects/deta/configs/deta_equation4_12ep.py").model
    rules = model.criterion.rules
    assert (rules.decoder.assigner.threshold, rules.encoder.assigner.threshold) == (0.6, 0.7)
    assert (rules.decoder.assigner.max_queries, rules.encoder.assigner.max_queries) == (4, None)
    assert (rules.decoder.assigner.positive_fraction, rules.encoder.assigner.positive_fraction) == (0.25, 0.5)
    step_that_adds_nothing_to_inference(make_small(model))
