"""Pictures show what they should: checked on pixels, and that drawing has no side effects."""

import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode
from scipy.ndimage import binary_dilation, binary_erosion

from querydet.utils.run_lengths import encode_masks
from querydet.visualization import (
    draw_instances,
    instances_of_record,
)
from querydet.visualization.cropped_masks import cropped_masks
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


def test_empty_masks_change_nothing():
    found = predictions([[40, 30, 120, 90], [10, 10, 30, 110]], [0.9, 0.5], [1, 0])
    expected = draw_instances(GREY, found, ["a", "b"])
    found.pred_masks = torch.zeros(2, *GREY.shape[:2], dtype=torch.bool)
    assert np.array_equal(draw_instances(GREY, found, ["a", "b"]), expected)


@pytest.mark.parametrize("as_run_lengths", [False, True])
def test_masks_are_drawn_in_their_class_colour_where_they_are(as_run_lengths):
    found = predictions([[40, 30, 120, 90], [10, 60, 30, 110]], [0.9, 0.5], [1, 0])
    without = draw_instances(GREY, found, ["a", "b"]).astype(int)
    masks = torch.zeros(2, *GREY.shape[:2], dtype=torch.bool)
    masks[0, 45:80, 60:100] = True
    if as_run_lengths:
        found.pred_masks_rle = encode_masks(masks)
    else:
        found.pred_masks = masks
    drawn = draw_instances(GREY, found, ["a", "b"]).astype(int)
    changed = np.abs(drawn - without).max(axis=2) > 3
    mask = masks[0].numpy().repeat(4, axis=0).repeat(4, axis=1)  # the picture has four times the size
    inner = binary_erosion(mask, iterations=4)
    assert changed[inner].all()
    assert not changed[~binary_dilation(mask, iterations=4)].any()
    color = 255 * np.array(class_color(1))
    assert np.abs(drawn[4 * 60, 4 * 80] - (0.55 * 128 + 0.45 * color)).max() < 3
    assert np.abs(drawn[4 * 45 + 2, 4 * 80] - color).max() < 3  # the outline


@pytest.fixture
def outlined_record():
    """A record with polygons of two parts, run lengths, no outline, and a crowd region."""
    square = [10.0, 10, 20, 10, 20, 20, 10, 20]
    other = [30.0, 10, 35, 10, 35, 15, 30, 15]
    box = {"bbox": [10, 10, 25, 10], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "iscrowd": 0}
    mask = torch.zeros(1, 50, 60, dtype=torch.bool)
    mask[0, 40:45, 50:60] = True
    return {
        "file_name": "a.jpg",
        "height": 50,
        "width": 60,
        "annotations": [
            {**box, "segmentation": [np.array(square), np.array(other)]},
            {**box, "segmentation": encode_masks(mask)[0]},
            box,
            {**box, "iscrowd": 1, "segmentation": encode_masks(~mask)[0]},
        ],
    }


def test_masks_of_a_record_are_those_of_its_outlines(outlined_record):
    instances = instances_of_record(outlined_record)
    first, second, third = cropped_masks(instances)
    assert (first.x, first.y, first.bitmap.shape, first.bitmap.sum()) == (10, 10, (10, 25), 125)
    assert (second.x, second.y, second.bitmap.shape) == (50, 40, (5, 10))
    assert third is None
    picture = draw_instances(np.full((50, 60, 3), 128, np.uint8), instances, ["a"])
    scale = picture.shape[0] // 50
    color = 0.55 * 128 + 0.45 * 255 * np.array(class_color(0))
    assert np.abs(picture[15 * scale, 15 * scale] - color).max() < 3
    for item in outlined_record["annotations"]:
        item.pop("segmentation", None)
    assert set(instances_of_record(outlined_record).get_fields()) == {"gt_boxes", "gt_classes"}


def test_an_outline_that_cannot_be_read_is_named(outlined_record):
    outlined_record["annotations"][1]["segmentation"] = [["text", 1, 2, 3, 4, 5]]
    with pytest.raises(ValueError, match=r"a\.jpg: object 1 cannot be drawn"):
        instances_of_record(outlined_record)
