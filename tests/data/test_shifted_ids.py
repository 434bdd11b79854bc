"""Ids that count from another number are recognised where all of them say so, and only then."""

import copy

import pytest

from querydet.data.repairs import problems_left, repair
from querydet.data.shifted_ids import category_shift, image_shift
from tests.data.outlined import outlined


def categories(*ids):
    return [{"id": number, "name": f"class {number}"} for number in ids]


def annotations(*ids):
    return [{"id": index, "category_id": number} for index, number in enumerate(ids)]


@pytest.mark.parametrize(
    ("listed", "used", "meant", "certain"),
    [
        ((1, 2, 3), (0, 1, 2, 2), {0: 1, 1: 2, 2: 3}, True),
        ((0, 1, 2), (1, 2, 3, 3), {1: 0, 2: 1, 3: 2}, True),
        ((1,), (0, 0), {0: 1}, True),
        ((0,), (1, 1), {1: 0}, True),
        ((1, 2, 3), (0, 2), {0: 1, 2: 3}, False),
        ((1, 2, 4, 7), (0, 1, 2, 3), {0: 1, 1: 2, 2: 4, 3: 7}, True),  # positions, as COCO's ids have gaps
        ((2, 5, 9), (1, 2, 3), {1: 2, 2: 5, 3: 9}, True),
        ((5, 6, 9), (1, 2, 3), {1: 5, 2: 6, 3: 9}, True),
    ],
)
def test_shifted_categories(listed, used, meant, certain):
    shift = category_shift(categories(*listed), annotations(*used))
    assert {number: shift.ids[number] for number in used} == meant
    assert shift.is_certain == certain
    assert ("--write-fixed" in shift.remedy()) == certain


@pytest.mark.parametrize(
    ("listed", "used"),
    [
        ((1, 2, 3), (1, 2, 3)),
        ((1, 2, 3), (1, 2)),
        ((0, 1, 2), (0, 1)),
        ((1, 2, 3), (0, 1, 2, 3)),  # an object of no class
        ((1, 2, 3), (0, 3)),
        ((1, 2, 3), (1, 7)),
        ((1, 2, 3), ()),
        ((3, 1, 2), (0, 1, 2)),  # the position in the list, or the id less one
        ((1, 1, 2), (0, 1)),
        ((), (0,)),
    ],
)
def test_categories_that_are_right_or_unclear(listed, used):
    assert category_shift(categories(*listed), annotations(*used)) is None


@pytest.mark.parametrize("step", [-1, 1])
def test_shifted_images_are_repaired(step):
    right = outlined(24, sizes=((160, 120), (90, 150)))
    wrong = copy.deepcopy(right)
    for entry in wrong["annotations"]:
        entry["image_id"] += step
    shift = image_shift(wrong["images"], wrong["annotations"])
    assert shift.is_certain
    assert repair(wrong, "/nowhere")[0]["annotations"] == right["annotations"]


def test_no_annotation_is_removed_while_a_shift_is_possible():
    wrong = outlined(30)
    wrong["annotations"] = [entry for entry in wrong["annotations"] if entry["image_id"] not in (3, 4, 5)]
    for entry in wrong["annotations"]:
        entry["image_id"] -= 1
    fixed, _ = repair(wrong, "/nowhere")
    assert len(fixed["annotations"]) == len(wrong["annotations"])
    assert "image_id is one too small" in problems_left(fixed, "x", "/nowhere")


def test_boxes_tell_a_removed_image_from_a_shift():
    """The first of the images is not listed any more, and the last one has no objects."""
    content = outlined(30, sizes=((160, 120), (40, 300)), smallest=30, largest=35)
    del content["images"][0]
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 10]
    assert image_shift(content["images"], content["annotations"]) is None
    assert len(repair(content, "/nowhere")[0]["annotations"]) == 24


@pytest.mark.parametrize("ids", [(1, 2, 3), (7, 9, 12), (0, 1, 2), (5,)])
def test_images_that_are_right_or_unclear(ids):
    images = [{"id": number, "width": 9, "height": 9} for number in ids]
    for used in (ids, ids[:1], (), (99,), (ids[0] - 1, *ids)):
        entries = [{"id": index, "image_id": number, "bbox": [1, 1, 2, 2]} for index, number in enumerate(used)]
        assert image_shift(images, entries) is None


@pytest.mark.parametrize("value", [None, 3, "x", [3], {"id": 1}, [{"id": True}], [None]])
def test_any_lists_are_passed_over(value):
    assert category_shift(value, value) is None
    assert image_shift(value, value) is None
