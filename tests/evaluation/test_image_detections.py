"""Detections of one image as rows, and their masks."""

import numpy as np
import pytest

from querydet.evaluation.image_detections import ImageDetections, detection_rows, masks_of_images
from tests.evaluation.hand_made import detections


def test_rows_are_x_y_w_h_score_and_class():
    rows = detection_rows(detections([[1, 2, 5, 9], [0, 0, 3, 3]], [0.5, 0.25], [2, 0]))
    assert rows.tolist() == [[1, 2, 4, 7, 0.5, 2], [0, 0, 3, 3, 0.25, 0]]
    assert detection_rows(detections([], [])).shape == (0, 6)


def test_all_detections_have_masks_or_none_has():
    row, mask = np.zeros((1, 6)), {"size": [1, 1], "counts": "1"}
    with_mask, without, nothing = ImageDetections(row, masks=[mask]), ImageDetections(row), ImageDetections(row[:0])
    assert masks_of_images({7: with_mask, 8: nothing}) == {7: [mask]}
    assert masks_of_images({7: without, 8: nothing}) is None
    assert masks_of_images({8: ImageDetections(row[:0], masks=[])}) == {8: []}
    assert masks_of_images({}) is None
    with pytest.raises(ValueError, match=r"1 images have detections without masks, such as image 8, .* image 7"):
        masks_of_images({7: with_mask, 8: without})
