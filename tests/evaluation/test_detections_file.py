"""The file of detections has the ids of the json, and nothing of classes that the json lacks."""

import json

import numpy as np

from querydet.evaluation.detections_file import write_detections


def test_ids_of_the_json_without_absent_classes(tmp_path):
    rows = {7: np.array([[1, 2, 3, 4, 0.5, 0], [5, 6, 7, 8, 0.25, 1]]), 9: np.zeros((0, 6))}
    path = write_detections(str(tmp_path / "new"), rows, [40, 30], absent=(1,))
    with open(path) as file:
        assert json.load(file) == [{"image_id": 7, "category_id": 40, "bbox": [1, 2, 3, 4], "score": 0.5}]
