"""Boxes around outlines, whatever an exporter writes there."""

import math

import pytest
from hypothesis import given, settings

from querydet.data.outlines import MOST_ANNOTATIONS, box_of_outline, have_fractions, outlined_boxes
from tests.data.outlined import outlined, with_outlines
from tests.data.test_coco_checks import JSON_VALUES


@pytest.mark.parametrize(
    ("outline", "box"),
    [
        ([[1, 2, 5, 2, 5, 9]], [1, 2, 4, 7]),
        ([1, 2, 5, 2, 5, 9], [1, 2, 4, 7]),
        ([[1, 2, 5, 2, 5, 9], [0, 4, 1, 4, 1, 5]], [0, 2, 5, 7]),
        ([["1", "2", "5", "2", "5", "9"]], [1, 2, 4, 7]),
        ({"size": [4, 5], "counts": [5, 2, 2, 2, 9]}, [1, 1, 2, 2]),
        *[
            (empty, None)
            for empty in (None, [], [[]], [[1, 2, 3, 4]], [[1, 2, 5, 2, 5]], [[1, 1] * 4], "x", {}, [[True] * 6])
        ],
        ([[math.nan, 2, 5, 2, 5, 9]], None),
        ([[math.inf, 2, 5, 2, 5, 9]], None),
    ],
)
def test_the_box_of_an_outline(outline, box):
    assert box_of_outline(outline) == box


def test_fractions():
    content = outlined(20)
    assert not have_fractions(content["images"], content["annotations"])
    content = with_outlines(content, lambda x, y, W, H: (x / W, y / H))
    assert have_fractions(content["images"], content["annotations"])
    content["annotations"] = content["annotations"][:1]
    assert not have_fractions(content["images"], content["annotations"])  # of one, nobody knows


def test_of_many_annotations_some_are_taken_evenly():
    content = outlined(3 * MOST_ANNOTATIONS + 1)
    labels = [pair.label for pair in outlined_boxes(content["images"], content["annotations"])]
    assert MOST_ANNOTATIONS / 2 < len(labels) <= MOST_ANNOTATIONS
    assert max(labels) > 2.9 * MOST_ANNOTATIONS


@settings(max_examples=100, deadline=None)
@given(JSON_VALUES)
def test_any_value_is_read(value):
    box_of_outline(value)
    have_fractions(value, [{"image_id": value, "segmentation": value}])
    assert list(outlined_boxes(value, value)) == []
