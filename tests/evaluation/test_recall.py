"""Recall of the proposals and of every layer, by hand."""

import pytest
import torch

from querydet.evaluation import QueryRecallEvaluator
from querydet.evaluation.query_predictions import QueryRecord
from querydet.evaluation.recall import covered
from tests.evaluation.hand_made import in_two_processes, make_dataset, run

WHOLE, LEFT = [0, 0, 200, 100], [0, 0, 100, 100]  # of an image of 200x100


def record(start, *layers):
    boxes = torch.tensor(layers, dtype=torch.float32)
    return QueryRecord(torch.tensor(start, dtype=torch.float32), torch.zeros(*boxes.shape[:2], 3), boxes)


def test_boxes_are_given_one_to_one_the_best_overlap_first():
    objects = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8]])
    one = torch.tensor([[0.0, 0, 10, 10]])
    assert covered(one, objects).tolist() == [1, 0]
    two = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 4]])
    assert covered(two, objects).tolist() == pytest.approx([1, 0.5])
    assert covered(torch.zeros(0, 4), objects).tolist() == [0, 0]
    assert covered(one, torch.zeros(0, 4)).tolist() == []


def case():
    """Image 1: IoU 0.5 from the proposals, 0.75 after layer 1, 1 after layer 2; image 2: never found."""
    dataset = make_dataset([{"bbox": WHOLE, "area": 20000}], [{"bbox": [0, 0, 10, 10], "area": 100}])
    found = record([[0.25, 0.5, 0.5, 1]], [[0.375, 0.5, 0.75, 1]], [[0.5, 0.5, 1, 1]])
    missed = record([[0.9, 0.9, 0.1, 0.1]], [[0.9, 0.9, 0.1, 0.1]], [[0.9, 0.9, 0.1, 0.1]])
    return dataset, {"_1": {"queries": found}, "_2": {"queries": missed}}


def test_every_stage_has_its_recall():
    dataset, outputs = case()
    results = run(QueryRecallEvaluator(dataset=dataset), **outputs)["recall"]
    for stage, average, at_50, at_75 in (("proposals", 5, 50, 0), ("layer1", 30, 50, 50), ("layer2", 50, 50, 50)):
        assert results[f"{stage}-AR"] == pytest.approx(average)
        assert results[f"{stage}-R50"] == pytest.approx(at_50)
        assert results[f"{stage}-R75"] == pytest.approx(at_75)
        assert results[f"{stage}-ARl"] == pytest.approx(2 * average)
        assert results[f"{stage}-ARs"] == 0
        assert results[f"{stage}-ARm"] == -1


def test_two_processes_give_the_result_of_one(monkeypatch):
    dataset, outputs = case()
    expected = run(QueryRecallEvaluator(dataset=dataset), **outputs)
    assert in_two_processes(lambda: QueryRecallEvaluator(dataset=dataset), outputs, monkeypatch) == (expected, {})


def test_points_are_no_proposals_and_crowd_regions_no_objects():
    dataset = make_dataset([LEFT, {"bbox": WHOLE, "iscrowd": 1}])
    found = record([[0.25, 0.5]], [[0.25, 0.5, 0.5, 1]])
    results = run(QueryRecallEvaluator(dataset=dataset), _1={"queries": found})["recall"]
    assert results["proposals-AR"] == -1
    assert results["layer1-AR"] == pytest.approx(100)


def test_no_objects():
    found = record([[0.25, 0.5, 0.5, 1]], [[0.25, 0.5, 0.5, 1]])
    results = run(QueryRecallEvaluator(dataset=make_dataset([])), _1={"queries": found})["recall"]
    assert set(results.values()) == {-1}
    assert set(run(QueryRecallEvaluator(dataset=make_dataset([])))["recall"].values()) == {-1}
