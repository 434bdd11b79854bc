"""The quality of candidates, by hand and against the assigner that the score is from."""

import json

import pytest
import torch

from querydet.evaluation import CandidateEvaluator
from querydet.evaluation.candidates import rank_candidates
from querydet.evaluation.per_image import image_truth
from querydet.evaluation.query_predictions import QueryRecord
from querydet.modeling.assigners import OneToManyAssigner
from tests.evaluation.hand_made import in_two_processes, make_dataset, run

LEFT = {"bbox": [0, 0, 100, 100], "area": 10000}  # of an image of 200x100: (0.25, 0.5, 0.5, 1)


def record(boxes, scores):
    """Queries of one layer with scores (Q, 3)."""
    return QueryRecord(torch.zeros(len(boxes), 4), torch.tensor([scores]).logit(), torch.tensor([boxes]))


# IoU 1 with a low score, IoU 0.5 with a high one, IoU 0 with the highest
BOXES = [[0.25, 0.5, 0.5, 1.0], [0.125, 0.5, 0.25, 1.0], [0.75, 0.5, 0.5, 1.0]]
SCORES = [[0.1, 0.9, 0.5], [0.8, 0.1, 0.5], [0.9, 0.1, 0.5]]


def test_candidates_are_ranked_by_the_matching_score():
    truth = image_truth(make_dataset([LEFT])[0])
    found = rank_candidates(record(BOXES, SCORES), truth, alpha=0.3)
    # 0.3 * 0.1 + 0.7 = 0.73; 0.3 * 0.8 + 0.35 = 0.59; 0.27
    assert found.queries.tolist() == [[0, 1, 2]]
    assert found.quality[0].tolist() == pytest.approx([0.73, 0.59, 0.27], abs=1e-6)
    assert found.ious[0].tolist() == pytest.approx([1, 0.5, 0])
    assert found.scores[0].tolist() == pytest.approx([0.1, 0.8, 0.9], abs=1e-6)
    assert rank_candidates(record(BOXES, SCORES), truth, alpha=1.0, count=2).queries.tolist() == [[2, 1]]


def test_unless_asked_otherwise_they_are_ranked_by_iou_as_in_figure_7():
    queries = record([BOXES[1], BOXES[0], BOXES[2]], [[0.99, 0.1, 0.5], [0.01, 0.1, 0.5], [0.9, 0.1, 0.5]])
    found = rank_candidates(queries, image_truth(make_dataset([LEFT])[0]))
    assert found.queries.tolist() == [[1, 0, 2]]
    assert torch.equal(found.quality, found.ious)


def test_scores_are_those_of_the_assigner():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(1, 30, 4, generator=generator) * 0.4 + 0.1
    queries = QueryRecord(boxes[0], torch.randn(1, 30, 3, generator=generator), boxes)
    truth = image_truth(make_dataset([LEFT, {"bbox": [50, 20, 80, 30], "category_id": 2}])[0])
    gt_boxes = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.45, 0.35, 0.4, 0.3]])
    expected = OneToManyAssigner(alpha=0.3).scores(queries.logits, boxes, truth.labels, gt_boxes)[0]
    found = rank_candidates(queries, truth, count=30, alpha=0.3)
    assert found.quality.float().allclose(expected.gather(1, found.queries), atol=1e-6)
    assert (found.quality.diff(dim=1) <= 0).all()


def case(**options):
    dataset = make_dataset([LEFT, {"bbox": [0, 0, 9, 9], "iscrowd": 1}], [])
    outputs = {"_1": {"queries": record(BOXES, SCORES)}, "_2": {"queries": record(BOXES, SCORES)}}
    return lambda: CandidateEvaluator(dataset=dataset, **options), outputs


def test_means_over_candidates_and_ranks(tmp_path):
    make, outputs = case(count=2, output_dir=str(tmp_path / "new"))
    results = run(make(), **outputs)["candidates"]
    assert results == pytest.approx({"IoU": 75, "score": 45, "IoU1": 100, "score1": 10, "good": 2}, abs=1e-4)
    written = json.loads((tmp_path / "new" / "candidates.json").read_text())
    assert written["by_rank"]["IoU"] == pytest.approx([100, 50])
    assert written["by_rank"]["objects"] == 1


def test_layers_are_counted_from_one_and_checked():
    make, outputs = case(layer=1)
    assert run(make(), **outputs)["candidates"]["IoU1"] == pytest.approx(100)
    make, outputs = case(layer=2)
    with pytest.raises(ValueError, match=r"no decoder layer 2: they are 1 to 1"):
        run(make(), **outputs)
    for options in ({"layer": 0}, {"count": 0}, {"alpha": 1.5}):
        with pytest.raises(ValueError, match=r"counted from 1|at least 1 and alpha in \[0, 1\]"):
            case(**options)[0]()


def test_without_objects_there_is_no_value():
    dataset = make_dataset([])
    results = run(CandidateEvaluator(dataset=dataset), _1={"queries": record(BOXES, SCORES)})["candidates"]
    assert set(results.values()) == {-1}
    assert set(run(CandidateEvaluator(dataset=dataset))["candidates"].values()) == {-1}


def test_two_processes_together(monkeypatch):
    make, outputs = case()
    alone = run(make(), **outputs)
    assert in_two_processes(make, outputs, monkeypatch) == (alone, {})
