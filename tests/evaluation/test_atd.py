"""ATD(k) by hand (DINO, equation 1)."""

import pytest
import torch

from querydet.evaluation import ATDEvaluator
from querydet.evaluation.atd import average_top_distance
from tests.evaluation.hand_made import in_two_processes, make_dataset, one_query_per, run


def test_the_mean_of_the_k_largest():
    distances = torch.tensor([0.1, 0.4, 0.2])
    assert average_top_distance(distances, 2) == pytest.approx(0.3)
    assert average_top_distance(distances, 1) == pytest.approx(0.4)
    assert average_top_distance(distances, 100) == pytest.approx(0.7 / 3)  # of all where there are fewer
    assert average_top_distance(torch.zeros(0), 5) == -1
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        average_top_distance(distances, 0)


# images of 200x100 pixels (width x height); normalised centres and sizes beside
SMALL = {"bbox": [20, 10, 20, 20], "area": 400}  # (0.15, 0.2, 0.1, 0.2)
MEDIUM = {"bbox": [100, 40, 40, 40], "area": 1600}  # (0.6, 0.6, 0.2, 0.4)
LARGE = {"bbox": [0, 0, 200, 100], "area": 20000}  # (0.5, 0.5, 1, 1)
PREDICTED = {"small": [0.15, 0.2, 0.1, 0.2], "medium": [0.6, 0.6, 0.2, 0.4], "large": [0.5, 0.5, 1, 1]}


def two_images():
    dataset = make_dataset([SMALL, LARGE], [MEDIUM, {**SMALL, "iscrowd": 1}], [])
    first = one_query_per(
        [[0.8, 0.8, 0.1, 0.1], PREDICTED["large"], PREDICTED["small"]],
        start=[[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.7, 0.9], [0.25, 0.2, 0.1, 0.3]],  # distances -, 0.4, 0.2
    )
    second = one_query_per([PREDICTED["medium"]], start=[[0.6, 0.5, 0.2, 0.4]])  # 0.1
    return dataset, {"_1": {"queries": first}, "_2": {"queries": second}, "_3": {"queries": second}}


def test_distances_are_those_of_the_first_references_of_the_matched_queries():
    dataset, outputs = two_images()
    results = run(ATDEvaluator(dataset=dataset, k=2), **outputs)["atd"]
    assert results == pytest.approx(
        {"ATD": 0.3, "ATDs": 0.2, "ATDm": 0.1, "ATDl": 0.4, "objects": 3, "unmatched": 0}, abs=1e-6
    )
    assert run(ATDEvaluator(dataset=dataset), **outputs)["atd"]["ATD"] == pytest.approx(0.7 / 3, abs=1e-6)


def test_two_processes_give_the_result_of_one(monkeypatch):
    dataset, outputs = two_images()
    expected = run(ATDEvaluator(dataset=dataset, k=2), **outputs)
    assert in_two_processes(lambda: ATDEvaluator(dataset=dataset, k=2), outputs, monkeypatch) == (expected, {})


def test_sizes_are_bounded_as_in_coco():
    items = [{"bbox": [0, 0, 50, 50], "area": area} for area in (1023, 1024, 9215, 9216)]
    wrong = 0.01
    for item, name in zip(items, ("ATDs", "ATDm", "ATDm", "ATDl"), strict=True):
        query = one_query_per([[0.125, 0.25, 0.25, 0.5]], start=[[0.125 + wrong, 0.25, 0.25, 0.5]])
        results = run(ATDEvaluator(dataset=make_dataset([item])), _1={"queries": query})["atd"]
        assert results[name] == pytest.approx(wrong, abs=1e-6)
        assert sum(results[each] == -1 for each in ("ATDs", "ATDm", "ATDl")) == 2


def test_no_objects_and_too_few_queries():
    query = one_query_per([PREDICTED["small"]])
    nothing = run(ATDEvaluator(dataset=make_dataset([])), _1={"queries": query})["atd"]
    assert nothing == {"ATD": -1, "ATDs": -1, "ATDm": -1, "ATDl": -1, "objects": 0, "unmatched": 0}
    assert run(ATDEvaluator(dataset=make_dataset([SMALL])))["atd"]["ATD"] == -1  # nothing was processed
    crowded = run(ATDEvaluator(dataset=make_dataset([SMALL, LARGE])), _1={"queries": query})["atd"]
    assert (crowded["ATD"], crowded["objects"], crowded["unmatched"]) == (pytest.approx(0, abs=1e-6), 2, 1)


def test_references_without_a_size_are_refused():
    query = one_query_per([PREDICTED["small"]], start=[[0.5, 0.5]])
    with pytest.raises(ValueError, match="start from points"):
        run(ATDEvaluator(dataset=make_dataset([SMALL])), _1={"queries": query})
