"""Boxes of another kind are recognised in the file as a whole, and files of COCO's kind never are."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querydet.data.box_format import find_box_format

WIDTH, HEIGHT = 160, 120
KINDS = {
    ("xywh", False): lambda x, y, w, h: [x, y, w, h],
    ("xyxy", False): lambda x, y, w, h: [x, y, x + w, y + h],
    ("cxcywh", False): lambda x, y, w, h: [x + w / 2, y + h / 2, w, h],
    ("xywh", True): lambda x, y, w, h: [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT],
    ("xyxy", True): lambda x, y, w, h: [x / WIDTH, y / HEIGHT, (x + w) / WIDTH, (y + h) / HEIGHT],
    ("cxcywh", True): lambda x, y, w, h: [(x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT],
}


def scenes(count, seed=0, smallest=20, largest=50):
    rng = random.Random(seed)
    for _ in range(count):
        w, h = rng.randint(smallest, largest), rng.randint(smallest, largest)
        yield rng.randint(0, WIDTH - w), rng.randint(0, HEIGHT - h), w, h


def kind_of(boxes, width=WIDTH, height=HEIGHT, areas=None):
    images = [{"id": 1, "width": width, "height": height}]
    annotations = [{"id": index, "image_id": 1, "bbox": box} for index, box in enumerate(boxes)]
    for annotation, area in zip(annotations, areas or [], strict=False):
        annotation["area"] = area
    return find_box_format(images, annotations)


@pytest.mark.parametrize("count", [20, 1000])
@pytest.mark.parametrize(("layout", "fractions"), KINDS)
def test_every_kind_is_recognised(layout, fractions, count):
    found = kind_of([KINDS[layout, fractions](*box) for box in scenes(count)])
    assert found.fractions == fractions
    assert found.is_coco == ((layout, fractions) == ("xywh", False))
    assert found.layout in ("", layout)  # of few fractions several layouts are possible
    if count == 1000:
        assert found.layout == layout


@pytest.mark.parametrize(("layout", "fractions"), [kind for kind in KINDS if kind != ("xywh", False)])
def test_conversion_leads_back(layout, fractions):
    found = kind_of([KINDS[layout, fractions](*box) for box in scenes(1000)])
    for box in scenes(20):
        converted = found.convert(tuple(KINDS[layout, fractions](*box)), WIDTH, HEIGHT)
        assert converted == pytest.approx(box, abs=0.01)


def test_one_mistake_among_many_changes_nothing():
    boxes = [KINDS["xyxy", False](*box) for box in scenes(500)]
    boxes[7] = [50, 50, 20, 20]
    assert kind_of(boxes).layout == "xyxy"
    boxes = [KINDS["xywh", True](*box) for box in scenes(500)]
    boxes[7] = [50, 50, 20, 20]
    assert kind_of(boxes).fractions


LEGIT = {
    "objects of less than a pixel, all over the image": [[x, y, 0.4, 0.5] for x, y, _, _ in scenes(50)],
    "placeholders": [[0, 0, 1, 1]] * 50,
    "one box in a corner": [[0.1, 0.2, 0.5, 0.5]],
    "the same box again and again": [[0.1, 0.2, 0.5, 0.5]] * 50,
    "two boxes in a corner": [[0.1, 0.2, 0.5, 0.5], [0.3, 0.3, 0.4, 0.4]],
    "two careless boxes": [[20, 10, 155, 100], [30, 30, 150, 110]],
    "boxes that leave the image by a little": [[8 + k / 10, 6, WIDTH, HEIGHT] for k in range(50)],
    "boxes of a larger image": [[2 * x, 2 * y, 2 * w, 2 * h] for x, y, w, h in scenes(50)],
    "nothing but broken boxes": [[math.nan, 0, 1, 1], [0, 0, 0, 0], [0.5, 0.5, -1, 0.5]] * 20,
    "no boxes": [],
    "boxes at 1": [[1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 1]] * 10,
}


@pytest.mark.parametrize("name", LEGIT)
def test_legitimate_files_are_left_alone(name):
    assert kind_of(LEGIT[name]).is_coco


@pytest.mark.parametrize("side", [1, 2])
def test_images_of_a_pixel_or_two_have_such_boxes(side):
    boxes = [[0.1 * k, 0.2, 0.3, 0.05 * k + 0.1] for k in range(5)]
    assert kind_of(boxes, side, side).is_coco


def test_few_boxes_are_believed_when_their_areas_confirm_them():
    """Objects that are annotated beyond the image, as whole bodies are."""
    boxes = [[20, 30, 150, 110], [30, 40, 152, 108], [25, 35, 158, 119]]
    assert kind_of(boxes).layout == "xyxy"
    assert kind_of(boxes, areas=[box[2] * box[3] for box in boxes]).is_coco


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1), st.floats(0.001, 1)), min_size=1, max_size=40
    )
)
def test_boxes_within_their_images_are_coco(fractions):
    """Whatever a file of the right kind holds: boxes that do not leave their images, one of them off the corner."""
    boxes = [[x * WIDTH * (1 - w), y * HEIGHT * (1 - h), w * WIDTH, h * HEIGHT] for x, y, w, h in fractions]
    assert kind_of([*boxes, [100, 80, 20, 20]]).is_coco


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=3), st.lists, max_leaves=5))
def test_any_entries_are_passed_over(value):
    assert find_box_format([value, {"id": value, "width": value}], [value, {"image_id": value, "bbox": value}]).is_coco
