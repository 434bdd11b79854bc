"""Pictures show what they should: checked on pixels, and that drawing has no side effects."""

import numpy as np
from detectron2.structures import BoxMode

from querydet.visualization import (
    draw_instances,
    instances_of_record,
)
from querydet.visualization.drawing import class_color
from tests.visualization.instances import GREY, predictions


def test_small_images_are_enlarged_by_a_whole_factor():
    assert draw_instances(GREY, predictions([], [], []), []).shape == (480, 640, 3)
    assert draw_instances(np.zeros((700, 900, 3), np.uint8), predictions([], [], []), []).shape == (700, 900, 3)


def test_a_narrow_strip_is_enlarged_less():
    strip = np.zeros((20, 3000, 3), np.uint8)
    assert draw_instances(strip, instances_of_record({"height": 20, "width": 3000}), []).shape == strip.shape


def test_a_box_is_drawn_on_its_border_in_its_class_colour():
    drawn = draw_instances(GREY, predictions([[40, 30, 120, 90]], [0.9], [1]), ["a", "b"]).astype(int)
    color = np.array(class_color(1)) * 255 / 2 + 128 / 2  # Detectron2 draws borders half transparent
    for y, x in ((60, 40), (60, 120), (90, 100), (30, 100)):
        patch = drawn[4 * y - 6 : 4 * y + 6, 4 * x - 6 : 4 * x + 6]
        assert np.abs(patch - color).sum(axis=2).min() < 20
    assert np.abs(drawn[4 * 45 : 4 * 75, 4 * 60 : 4 * 100] - 128).max() < 3  # nothing inside
    assert np.abs(drawn[: 4 * 20] - 128).max() < 3  # nothing outside


def test_colours_of_classes_differ():
    colors = np.array([class_color(index) for index in range(20)])
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=2) + np.eye(20)
    assert distances.min() > 0.05


def test_labels_beyond_the_names_and_boxes_beyond_the_image_are_drawn():
    drawn = draw_instances(GREY, predictions([[-50, -50, 500, 500]], [0.5], [7]), ["only one"])
    assert np.abs(drawn.astype(int) - 128).max() > 50


def test_drawing_leaves_the_global_generators_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_instances(GREY, predictions([[40, 30, 120, 90]], [0.9], [1]), ["a", "b"])
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_record_to_instances():
    record = {
        "height": 50,
        "width": 60,
        "annotations": [
            {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 5, "iscrowd": 0},
            {"bbox": [0, 0, 9, 9], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "iscrowd": 1},
        ],
    }
    instances = instances_of_record(record)
    assert instances.gt_boxes.tensor.tolist() == [[1, 2, 4, 6]]
    assert instances.gt_classes.tolist() == [5]
    assert len(instances_of_record({**record, "annotations": []})) == 0
