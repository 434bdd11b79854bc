"""The expected calibration error by hand."""

import json

import pytest
import torch

from querydet.evaluation import CalibrationEvaluator
from querydet.evaluation.calibration import calibration_errors, reliability
from tests.evaluation.hand_made import detections, in_two_processes, make_dataset, run


def test_bins_and_errors_by_hand():
    scores = torch.tensor([0.0, 0.5, 0.6, 0.9, 1.0], dtype=torch.float64)
    right = torch.tensor([False, True, True, True, False])
    bins = reliability(scores, right, 2)
    assert bins[0] == {"low": 0, "high": 0.5, "detections": 2, "precision": 0.5, "mean_score": 0.25}
    assert bins[1] == pytest.approx({"low": 0.5, "high": 1, "detections": 3, "precision": 2 / 3, "mean_score": 2.5 / 3})
    expected, largest = calibration_errors(bins)
    assert expected == pytest.approx(0.4 * 0.25 + 0.6 * 0.5 / 3)
    assert largest == pytest.approx(0.25)


def test_a_calibrated_detector_has_no_error():
    scores = torch.full((10,), 0.3)
    right = torch.arange(10) < 3
    assert calibration_errors(reliability(scores, right, 10))[0] == pytest.approx(0, abs=1e-7)


def case():
    """Right with 0.9 and 0.8, a duplicate with 0.7, wrong with 0.2, one in a crowd region."""
    dataset = make_dataset([[0, 0, 40, 40]], [[0, 0, 40, 40], {"bbox": [100, 0, 90, 90], "iscrowd": 1}])
    first = detections([[0, 0, 40, 40], [0, 0, 40, 39]], [0.9, 0.7])
    second = detections([[0, 0, 40, 40], [50, 50, 90, 90], [110, 10, 120, 20]], [0.8, 0.2, 0.6])
    return dataset, {"_1": {"instances": first}, "_2": {"instances": second}}


def test_detections_are_right_as_in_coco(tmp_path):
    dataset, outputs = case()
    results = run(CalibrationEvaluator(dataset=dataset, num_bins=10, output_dir=str(tmp_path)), **outputs)[
        "calibration"
    ]
    assert results == pytest.approx(
        {"ECE": (0.1 + 0.2 + 0.7 + 0.2) / 4, "MCE": 0.7, "mean_score": 0.65, "precision": 0.5, "detections": 4},
        abs=1e-6,
    )
    written = json.loads((tmp_path / "calibration.json").read_text())
    assert written["ECE"] == results["ECE"]
    assert sum(each["detections"] for each in written["bins"]) == 4
    above = run(CalibrationEvaluator(dataset=dataset, min_score=0.75), **outputs)["calibration"]
    assert (above["detections"], above["precision"]) == (2, 1)


def test_two_processes_give_the_result_of_one(monkeypatch):
    dataset, outputs = case()
    expected = run(CalibrationEvaluator(dataset=dataset), **outputs)
    assert in_two_processes(lambda: CalibrationEvaluator(dataset=dataset), outputs, monkeypatch) == (expected, {})


def test_no_detections_and_no_objects():
    empty = make_dataset([[0, 0, 40, 40]])
    nothing = {"ECE": -1, "MCE": -1, "mean_score": -1, "precision": -1, "detections": 0}
    assert run(CalibrationEvaluator(dataset=empty))["calibration"] == nothing
    assert run(CalibrationEvaluator(dataset=empty), _1={"instances": detections([], [])})["calibration"] == nothing
    wrong = {"instances": detections([[0, 0, 9, 9]], [0.25])}
    assert run(CalibrationEvaluator(dataset=make_dataset([])), _1=wrong)["calibration"]["ECE"] == pytest.approx(0.25)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        CalibrationEvaluator(dataset=make_dataset([]), num_bins=0)
    with pytest.raises(ValueError, match="min_score must lie in"):
        CalibrationEvaluator(dataset=make_dataset([]), min_score=-1)
