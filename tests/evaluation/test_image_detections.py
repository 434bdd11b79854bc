"""Detections of one image as rows."""

from querydet.evaluation.image_detections import detection_rows
from tests.evaluation.hand_made import detections


def test_rows_are_x_y_w_h_score_and_class():
    rows = detection_rows(detections([[1, 2, 5, 9], [0, 0, 3, 3]], [0.5, 0.25], [2, 0]))
    assert rows.tolist() == [[1, 2, 4, 7, 0.5, 2], [0, 0, 3, 3, 0.25, 0]]
    assert detection_rows(detections([], [])).shape == (0, 6)
