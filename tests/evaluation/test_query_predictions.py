"""What is recorded of the queries is what the detector computes, and matching them is the matching of training."""

import pytest
import torch
from detectron2.evaluation import DatasetEvaluators

from querydet.evaluation import (
    ATDEvaluator,
    CocoEvaluator,
    InstabilityEvaluator,
    WithQueries,
    record_queries,
    uses_queries,
)
from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.masks import PointMaskCost
from tests.evaluation.hand_made import make_dataset, one_query_per
from tests.models import make_inputs, tiny_detector


@pytest.mark.parametrize("name", ["dino", "dab_deformable_detr", "group_deformable_detr_pp", "deta", "ms_detr_plain"])
def test_outputs_are_those_of_the_detector(name):
    model = tiny_detector(name).eval()
    inputs = make_inputs([(64, 64), (48, 64)])
    with torch.no_grad():
        plain, recorded = model(inputs), WithQueries(model).eval()(inputs)
    for expected, found in zip(plain, recorded, strict=True):
        assert torch.equal(expected["instances"].scores, found["instances"].scores)
        assert torch.equal(expected["instances"].pred_boxes.tensor, found["instances"].pred_boxes.tensor)
        queries = found["queries"]
        num_queries = model.selection.num_queries
        assert queries.boxes.shape == (len(model.decoder.layers), num_queries, 4)
        assert queries.logits.shape[:2] == queries.boxes.shape[:2]
        assert queries.start.shape == (num_queries, 4)
        best = queries.logits[-1].sigmoid().max()
        assert float(best) == pytest.approx(float(found["instances"].scores.max()))
        if name.startswith("dab"):
            assert queries.tokens is None
            assert torch.equal(queries.start, recorded[0]["queries"].start)  # the same for every image
        else:
            assert len(queries.tokens.unique()) == num_queries
    assert not model.decoder._forward_hooks


def test_queries_are_not_recorded_in_training():
    with pytest.raises(ValueError, match="evaluation mode"):
        WithQueries(tiny_detector("dino")).train()([])


def test_only_evaluators_that_look_at_queries_cost_their_recording():
    dataset = make_dataset([[10, 10, 20, 20]])
    coco, atd = CocoEvaluator(dataset=dataset), ATDEvaluator(dataset=dataset)
    model = tiny_detector("dino")
    assert record_queries(model, coco) is model
    assert isinstance(record_queries(model, DatasetEvaluators([coco, atd])), WithQueries)
    assert uses_queries(DatasetEvaluators([coco, DatasetEvaluators([atd])]))
    other = torch.nn.Identity()
    assert record_queries(other, atd) is other


def test_outputs_without_queries_are_refused():
    evaluator = ATDEvaluator(dataset=make_dataset([[10, 10, 20, 20]]))
    with pytest.raises(ValueError, match=r"ATDEvaluator measures the queries .* hold \['instances'\]"):
        evaluator.process([{"image_id": 1}], [{"instances": None}])


def test_queries_that_are_not_finite_are_refused():
    evaluator = ATDEvaluator(dataset=make_dataset([[10, 10, 20, 20]]))
    record = one_query_per([[0.5, 0.5, 0.1, float("nan")]])
    with pytest.raises(ValueError, match="NaN or infinite"):
        evaluator.process([{"image_id": 1}], [{"queries": record}])


def test_detectors_without_boxes_are_refused() -> None:
    with pytest.raises(ValueError, match="have no boxes"):
        WithQueries(tiny_detector("mask2former"))


@pytest.mark.parametrize("measure", [ATDEvaluator, InstabilityEvaluator])
def test_a_matching_by_masks_which_are_not_recorded_is_refused(measure: type) -> None:
    dataset = make_dataset([[10, 10, 20, 20]])
    with pytest.raises(ValueError, match=r"compares masks, which are not recorded.*assigner=null"):
        measure(dataset=dataset, assigner=HungarianAssigner(mask_cost=PointMaskCost(num_points=4)))
    measure(dataset=dataset, assigner=HungarianAssigner())
