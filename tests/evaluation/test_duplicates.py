"""Duplicates and the gain of suppression, by hand."""

import pytest

from querydet.evaluation import CocoEvaluator, DuplicateEvaluator
from tests.evaluation.hand_made import detections, in_two_processes, make_dataset, one_query_per, run


def case():
    """Two objects in 200x100; the first is found three times, the second once, with the lowest score."""
    dataset = make_dataset([[0, 0, 40, 40], [100, 0, 40, 40]], [])
    boxes = [[0, 0, 40, 40], [0, 0, 40, 39], [0, 1, 40, 40], [100, 0, 140, 40]]
    return dataset, {
        "_1": {"instances": detections(boxes, [0.9, 0.8, 0.7, 0.6])},
        "_2": {"instances": detections([[0, 0, 9, 9]], [0.1])},
    }


def test_duplicates_and_the_gain_by_hand():
    dataset, outputs = case()
    results = run(DuplicateEvaluator(dataset=dataset), **outputs)["duplicates"]
    assert results["duplicates"] == pytest.approx(50)  # 2 of 4; the fifth has too small a score
    assert results["duplicates_per_object"] == pytest.approx(1)
    assert (results["duplicates_nms"], results["duplicates_per_object_nms"]) == (0, 0)
    # COCO's AP, the mean precision at 101 recalls: 1 up to recall 0.5 (51 of them), then 2 of 4; with suppression 1
    assert results["AP"] == pytest.approx(100 * (51 + 50 * 0.5) / 101)
    assert results["AP_nms"] == pytest.approx(100)
    assert results["nms_gain"] == pytest.approx(results["AP_nms"] - results["AP"])
    assert results["AP"] == pytest.approx(run(CocoEvaluator(dataset=dataset), **outputs)["bbox"]["AP"])


def test_two_processes_give_the_result_of_one(monkeypatch):
    dataset, outputs = case()
    expected = run(DuplicateEvaluator(dataset=dataset), **outputs)
    assert in_two_processes(lambda: DuplicateEvaluator(dataset=dataset), outputs, monkeypatch) == (expected, {})


def test_of_a_detector_all_queries_count_whatever_it_suppressed_itself():
    dataset = make_dataset([[0, 0, 40, 40]])
    same = one_query_per([[0.1, 0.2, 0.2, 0.4]] * 3)
    output = {"queries": same, "instances": detections([[0, 0, 40, 40]], [0.9])}
    results = run(DuplicateEvaluator(dataset=dataset), _1=output)["duplicates"]
    assert results["duplicates"] == pytest.approx(100 * 2 / 3)
    assert results["duplicates_nms"] == 0


def test_a_high_threshold_suppresses_nothing():
    dataset, outputs = case()
    results = run(DuplicateEvaluator(dataset=dataset, nms_threshold=0.99), **outputs)["duplicates"]
    assert results["nms_gain"] == 0
    assert results["duplicates_nms"] == results["duplicates"]


def test_no_detections_and_no_objects():
    nothing = run(DuplicateEvaluator(dataset=make_dataset([[0, 0, 40, 40]])))["duplicates"]
    assert (nothing["duplicates"], nothing["duplicates_per_object"], nothing["AP"], nothing["nms_gain"]) == (
        -1,
        -1,
        0,
        0,
    )
    found = {"instances": detections([[0, 0, 9, 9]], [0.5])}
    results = run(DuplicateEvaluator(dataset=make_dataset([])), _1=found)["duplicates"]
    assert (results["duplicates"], results["duplicates_per_object"], results["AP"], results["nms_gain"]) == (
        0,
        -1,
        -1,
        -1,
    )


def test_detections_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="predicted class 7, but the data set has 3"):
        run(DuplicateEvaluator(dataset=make_dataset([])), _1={"instances": detections([[0, 0, 9, 9]], [0.5], [7])})
