"""Right, wrong, again, or ignored: by hand, and the AP of COCO from the same labels."""

import pytest

from querydet.evaluation.labelling import Label, check_fraction, label_detections
from querydet.evaluation.per_image import image_truth
from tests.evaluation.hand_made import detections, make_dataset

BOX, OTHER = [0, 0, 40, 40], [100, 0, 40, 40]  # x, y, w, h


def labels(annotations, *arguments, threshold=0.5):
    (record,) = make_dataset(annotations)
    found = label_detections(detections(*arguments), image_truth(record), threshold)
    return [Label(value).name for value in found.tolist()]


def test_the_best_score_finds_the_object_and_the_others_are_duplicates():
    boxes = [[0, 0, 40, 36], [0, 0, 40, 40], [0, 0, 36, 40], [60, 60, 90, 90]]
    assert labels([BOX], boxes, [0.5, 0.4, 0.9, 0.8]) == ["DUPLICATE", "DUPLICATE", "RIGHT", "WRONG"]


def test_a_detection_takes_the_free_object_that_it_overlaps_most():
    close = [[0, 0, 40, 40], [0, 0, 40, 50]]
    assert labels(close, [[0, 0, 40, 40], [0, 0, 40, 41]], [0.9, 0.8]) == ["RIGHT", "RIGHT"]


def test_classes_are_apart_and_the_threshold_is_reached_by_equality():
    assert labels([BOX], [[0, 0, 40, 40]], [0.9], [1]) == ["WRONG"]
    assert labels([BOX], [[0, 0, 40, 20], [0, 0, 40, 19]], [0.9, 0.8]) == ["RIGHT", "WRONG"]


def test_detections_in_a_crowd_region_are_ignored():
    crowd = {"bbox": [0, 0, 100, 100], "iscrowd": 1}
    boxes = [[10, 10, 20, 20], [10, 10, 20, 20], [90, 0, 130, 40]]  # the last one is covered by a quarter
    assert labels([crowd], boxes, [0.9, 0.8, 0.7]) == ["IGNORED", "IGNORED", "WRONG"]
    assert labels([crowd, BOX], [[0, 0, 40, 40], [0, 0, 40, 40]], [0.9, 0.8]) == ["RIGHT", "IGNORED"]


def test_nothing_to_label():
    assert labels([BOX], [], []) == []
    assert labels([], [[0, 0, 9, 9]], [0.5]) == ["WRONG"]
    assert labels([BOX], [[5, 5, 5, 5]], [0.5]) == ["WRONG"]  # no area


def test_fractions_are_checked():
    assert check_fraction("min_score", 1) == 1
    with pytest.raises(ValueError, match=r"min_score must lie in \[0, 1\], got 30"):
        check_fraction("min_score", 30)
