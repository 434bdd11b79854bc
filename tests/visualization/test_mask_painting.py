"""Masks in the pixels of an image."""

import numpy as np
import pytest

from querydet.visualization.cropped_masks import crop
from querydet.visualization.mask_painting import FILL, paint_masks
from tests.visualization.instances import GREY

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros(GREY.shape[:2], dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_a_mask_is_filled_and_outlined_and_nothing_else_changes():
    mask = rectangle(20, 30, 60, 70)
    mask[45:55, 35:45] = False  # a hole
    painted = paint_masks(GREY, [crop(mask)], [RED])
    assert np.array_equal(painted[~mask], GREY[~mask])
    assert painted[30, 40].tolist() == painted[69, 20].tolist() == painted[44, 40].tolist() == [255, 0, 0]
    fill = (1 - FILL) * 128 + FILL * 255 * np.array(RED)
    assert painted[35, 25] == pytest.approx(fill, abs=1)
    assert (GREY == 128).all()  # the given image is not changed


def test_a_small_mask_is_seen_upon_a_large_one_in_either_order():
    masks, colors = [crop(rectangle(10, 10, 100, 100)), crop(rectangle(40, 40, 60, 60))], [RED, BLUE]
    painted = paint_masks(GREY, masks, colors)
    assert painted[40, 50].tolist() == [0, 0, 255]
    assert np.array_equal(painted, paint_masks(GREY, masks[::-1], colors[::-1]))


def test_without_masks_the_image_is_the_given_one():
    assert paint_masks(GREY, [], []) is GREY
    assert paint_masks(GREY, [None], [RED]) is GREY


def test_one_pixel_and_the_whole_image_are_masks():
    pixel, whole = rectangle(159, 119, 160, 120), rectangle(0, 0, 160, 120)
    assert paint_masks(GREY, [crop(pixel)], [RED])[119, 159].tolist() == [255, 0, 0]
    painted = paint_masks(GREY, [crop(whole)], [BLUE])
    assert painted[0, 80].tolist() == painted[119, 159].tolist() == [0, 0, 255]
    assert painted[60, 80, 2] > 128 > painted[60, 80, 0] > 0
