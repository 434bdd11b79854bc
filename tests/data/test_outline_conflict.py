"""Boxes that contradict their outlines by one rule are recognised, and no right file is called wrong."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querydet.data.outline_conflict import BOXES, OUTLINES, find_conflict
from tests.data.outlined import HEIGHT, WIDTH, outlined, with_boxes, with_outlines

MIXED = ((160, 120), (200, 90), (120, 160), (320, 240))
WRONG_BOXES = {
    "corners": lambda x, y, w, h, W, H: (x, y, x + w, y + h),
    "centres": lambda x, y, w, h, W, H: (x + w / 2, y + h / 2, w, h),
    "y first": lambda x, y, w, h, W, H: (y, x, h, w),
    "corners, y first": lambda x, y, w, h, W, H: (y, x, y + h, x + w),
    "half the scale": lambda x, y, w, h, W, H: (x / 2, y / 2, w / 2, h / 2),
    "twice the scale": lambda x, y, w, h, W, H: (x * 2, y * 2, w * 2, h * 2),
    "a third by a half": lambda x, y, w, h, W, H: (x / 3, y / 2, w / 3, h / 2),
    "corners at twice the scale": lambda x, y, w, h, W, H: (x * 2, y * 2, x * 2 + w * 2, y * 2 + h * 2),
    "images of 640 x 640": lambda x, y, w, h, W, H: (x * 640 / W, y * 640 / H, w * 640 / W, h * 640 / H),
    "percent": lambda x, y, w, h, W, H: (x * 100 / W, y * 100 / H, w * 100 / W, h * 100 / H),
    "thousandths": lambda x, y, w, h, W, H: (x * 1000 / W, y * 1000 / H, w * 1000 / W, h * 1000 / H),
    "thousandths as corners, y first": lambda x, y, w, h, W, H: (
        y * 1000 / H,
        x * 1000 / W,
        (y + h) * 1000 / H,
        (x + w) * 1000 / W,
    ),
    "shifted beyond the images": lambda x, y, w, h, W, H: (x + 35, y + 25, w, h),
    "shifted before the images": lambda x, y, w, h, W, H: (x - 35, y - 25, w, h),
}


def conflict_of(content):
    return find_conflict(content["images"], content["annotations"])


@pytest.mark.parametrize("sizes", [((WIDTH, HEIGHT),), MIXED])
@pytest.mark.parametrize("count", [14, 300])
@pytest.mark.parametrize("name", WRONG_BOXES)
def test_wrong_boxes_are_recognised_and_lead_back(name, count, sizes):
    right = outlined(count, sizes=sizes)
    wrong = with_boxes(right, WRONG_BOXES[name])
    found = conflict_of(wrong)
    assert found
    assert found.right == OUTLINES
    assert "contradicts segmentation" in found.fault()
    sides = {image["id"]: (image["width"], image["height"]) for image in right["images"]}
    for entry, bad in zip(right["annotations"], wrong["annotations"], strict=True):
        x, y, w, h = entry["bbox"]
        size = sides[entry["image_id"]]
        assert found.corners(tuple(bad["bbox"]), *size) == pytest.approx((x, y, x + w, y + h), abs=2.5)
        assert found.convert(tuple(bad["bbox"]), (x, y, x + w, y + h), *size) == [x, y, w, h]


@pytest.mark.parametrize("seed", range(20))
def test_the_number_of_boxes_that_a_small_set_has_suffices(seed):
    content = outlined(7, seed)
    for name in ("corners", "half the scale", "twice the scale"):
        assert conflict_of(with_boxes(content, WRONG_BOXES[name]))
    assert conflict_of(content) is None


WRONG_OUTLINES = {
    "fractions of the scale": lambda x, y, W, H: (x / W * 2, y / H * 2),
    "half the scale": lambda x, y, W, H: (x / 2, y / 2),
    "twice the scale": lambda x, y, W, H: (x * 2, y * 2),
    "shifted beyond the images": lambda x, y, W, H: (x + 50, y + 50),
}


@pytest.mark.parametrize("sizes", [((WIDTH, HEIGHT),), ((WIDTH, WIDTH),), MIXED])
@pytest.mark.parametrize(
    "change",
    [
        lambda x, y, W, H: (y, x),  # rows and columns, as of arrays
        lambda x, y, W, H: (x, H - y),
        lambda x, y, W, H: (W - x, y),
        lambda x, y, W, H: (x + 20, y + 15),
    ],
)
def test_outlines_of_other_axes_do_not_make_right_boxes_wrong(change, sizes):
    right = outlined(200, sizes=sizes)
    found = conflict_of(with_outlines(right, change))
    assert found is None or found.right != OUTLINES


def test_boxes_from_the_lower_left_are_a_warning():
    """They fit the images as well as the outlines do."""
    wrong = with_boxes(outlined(100), lambda x, y, w, h, W, H: (x, H - y - h, w, h))
    found = conflict_of(wrong)
    assert found.right == ""
    assert "lower left corner" in found.fault()


@pytest.mark.parametrize("name", WRONG_OUTLINES)
def test_right_boxes_beside_wrong_outlines_are_no_reason_to_stop(name):
    found = conflict_of(with_outlines(outlined(60), WRONG_OUTLINES[name]))
    assert found is None or found.right == BOXES


def test_outlines_as_fractions_are_compared_in_pixels():
    content = with_outlines(outlined(40), lambda x, y, W, H: (x / W, y / H))
    assert conflict_of(content) is None
    assert conflict_of(with_boxes(content, WRONG_BOXES["half the scale"])).right == OUTLINES


def test_where_both_may_be_right_nothing_stops():
    """Boxes and outlines are a little apart, and both lie within their images."""
    content = outlined(60)
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["bbox"] = [x / 10 + 60, y / 10 + 50, w, h]
        x, y = x / 10 + 40, y / 10 + 30
        entry["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
    assert conflict_of(content).right == ""


RNG = random.Random(3)
LEGIT = {
    "boxes of their outlines": lambda x, y, w, h, W, H: (x, y, w, h),
    "counted from 1": lambda x, y, w, h, W, H: (x + 1, y + 1, w, h),
    "a pixel wider": lambda x, y, w, h, W, H: (x, y, w + 1, h + 1),
    "a margin": lambda x, y, w, h, W, H: (x - 5, y - 5, w + 10, h + 10),
    "a tenth of margin": lambda x, y, w, h, W, H: (x - w / 10, y - h / 10, w * 1.2, h * 1.2),
    "whole bodies around what is visible": lambda x, y, w, h, W, H: (x, y, w, h * RNG.uniform(1, 4)),
    "parts": lambda x, y, w, h, W, H: (x + RNG.uniform(0, 0.5) * w, y, w / 2, h / 3),
    "whole images": lambda x, y, w, h, W, H: (0, 0, W, H),
    "careless": lambda x, y, w, h, W, H: (x + RNG.uniform(-9, 9), y + RNG.uniform(-9, 9), w, h),
    "rounded": lambda x, y, w, h, W, H: (round(x, -1), round(y, -1), round(w, -1), round(h, -1)),
}


@pytest.mark.parametrize("count", [1, 5, 14, 300])
@pytest.mark.parametrize("largest", [3, 12, 50, 300])
@pytest.mark.parametrize("name", LEGIT)
def test_boxes_that_differ_for_good_reason_are_left_alone(name, largest, count):
    content = outlined(count, per_image=1 + count // 4, smallest=2, largest=largest)
    found = conflict_of(with_boxes(content, LEGIT[name]))
    assert found is None or found.right != OUTLINES


PLACEHOLDERS = [
    [],
    [[]],
    None,
    [[0, 0, 0, 0, 0, 0]],
    [[0, 0, 1, 0, 1, 1]],
    [[0, 0, 160, 0, 160, 120, 0, 120]],
    [[1, 2]],
    {},
]


@pytest.mark.parametrize("outline", PLACEHOLDERS)
def test_placeholders_say_nothing(outline):
    content = outlined(60)
    for entry in content["annotations"]:
        entry["segmentation"] = outline
    found = conflict_of(content)
    assert found is None or found.right != OUTLINES


def test_outlines_that_were_written_from_the_wrong_numbers():
    """An exporter that takes x, y, width, height for corners when it writes polygons; the boxes are right."""
    content = outlined(60)
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["segmentation"] = [[x, y, w, y, w, h, x, h]]
    found = conflict_of(content)
    assert found is None or found.right != OUTLINES


def test_crowds_and_a_few_wrong_boxes_do_not_count():
    content = outlined(60)
    for entry in content["annotations"][:40]:
        entry.update(bbox=[0, 0, 10, 10], iscrowd=1)
    content["annotations"][50]["bbox"] = [1, 1, 2, 2]
    assert conflict_of(content) is None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1), st.floats(0.01, 1)), min_size=1, max_size=30
    ),
    st.sampled_from([(64, 64), (640, 480), (4000, 3000)]),
)
def test_any_right_file_is_left_alone(shapes, size):
    width, height = size
    images = [{"id": 1, "width": width, "height": height}]
    annotations = []
    for x, y, w, h in shapes:
        w, h = w * width, h * height
        x, y = x * (width - w), y * (height - h)
        points = [round(v, 2) for v in (x, y, x + w, y, x + w, y + h, x, y + h)]
        annotations.append({"image_id": 1, "bbox": [round(v, 1) for v in (x, y, w, h)], "segmentation": [points]})
    assert find_conflict(images, annotations) is None


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=3), st.lists, max_leaves=8))
def test_any_entries_are_passed_over(value):
    image = {"id": 1, "width": value, "height": 5}
    entry = {"image_id": 1, "bbox": value, "segmentation": value}
    assert find_conflict([value, image, {"id": value}], [value, entry, {"image_id": value}]) is None
