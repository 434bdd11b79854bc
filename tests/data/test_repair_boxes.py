"""Boxes that contradict their outlines are repaired where the outlines are right, and outlines that are fractions."""

import copy

import pytest

from querydet.data.coco_checks import find_problems
from querydet.data.repairs import repair
from tests.data.outlined import outlined, with_boxes, with_outlines
from tests.data.test_outline_conflict import MIXED, WRONG_BOXES


@pytest.mark.parametrize("sizes", [((160, 120),), MIXED])
@pytest.mark.parametrize("name", WRONG_BOXES)
def test_boxes_become_those_of_their_outlines(name, sizes):
    right = outlined(60, sizes=sizes)
    wrong = with_boxes(right, WRONG_BOXES[name])
    assert find_problems(wrong, "x").kinds
    del wrong["annotations"][7]["segmentation"]  # its box is converted with the others
    fixed, _ = repair(wrong, "/nowhere")
    for before, after in zip(right["annotations"], fixed["annotations"], strict=True):
        assert after["bbox"] == pytest.approx(before["bbox"], abs=2.5 if before["id"] == 7 else 0.01)
    assert not find_problems(fixed, "x").kinds
    assert repair(fixed, "/nowhere") == (fixed, {})


def test_an_area_of_wrong_numbers_is_removed():
    wrong = with_boxes(outlined(30), WRONG_BOXES["half the scale"])
    for entry in wrong["annotations"][:10]:
        entry["area"] = entry["bbox"][2] * entry["bbox"][3]
    areas = [entry.get("area") for entry in repair(wrong, "/nowhere")[0]["annotations"]]
    assert areas[:10] == [None] * 10
    assert areas[10:] == [entry["area"] for entry in wrong["annotations"][10:]]


@pytest.mark.parametrize("missing", ["none", "one", "all"])
def test_outlines_that_are_fractions_become_pixels(missing):
    right = outlined(30, sizes=MIXED)
    wrong = with_outlines(right, lambda x, y, W, H: (x / W, y / H))
    for entry in wrong["annotations"][: {"none": 0, "one": 1, "all": None}[missing]]:
        del entry["bbox"]
    fixed, done = repair(wrong, "/nowhere")
    assert any("fractions" in kind for kind in done)
    for before, after in zip(right["annotations"], fixed["annotations"], strict=True):
        assert after["bbox"] == pytest.approx(before["bbox"], abs=0.01)
        assert after["segmentation"][0] == pytest.approx(before["segmentation"][0], abs=0.01)


def test_fractions_of_unclear_order_are_cleared_up_by_outlines():
    """Boxes that fit as corners and as x, y, width, height."""
    right = outlined(8)
    for index, entry in enumerate(right["annotations"]):
        entry["bbox"] = [2 + index, 3, 70, 60]
        entry["segmentation"] = [[2 + index, 3, 72 + index, 3, 72 + index, 63]]
    wrong = with_boxes(right, lambda x, y, w, h, W, H: (x / W, y / H, w / W, h / H))
    fixed, _ = repair(wrong, "/nowhere")
    assert [entry["bbox"] for entry in fixed["annotations"]] == [entry["bbox"] for entry in right["annotations"]]


def test_right_boxes_stay():
    right = outlined(40, sizes=MIXED)
    assert repair(copy.deepcopy(right), "/nowhere") == (right, {})
    wider = with_outlines(right, lambda x, y, W, H: (2 * x, 2 * y))
    assert repair(copy.deepcopy(wider), "/nowhere") == (wider, {})


@pytest.mark.parametrize("outline", [[[1, 2, 11, 2, 11, 22, 1, 22]], None])
def test_integers_beyond_any_float_are_no_box(outline):
    content = outlined(6)
    content["annotations"][0].update(bbox=[10**400, 1, 5, 5], area=10**400, segmentation=outline)
    fixed, _ = repair(content, "")
    assert fixed["annotations"][0]["bbox"] == ([1, 2, 10, 20] if outline else [10**400, 1, 5, 5])
