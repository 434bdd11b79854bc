"""Boxes are repaired at once as they are one by one; columns are sorted by image."""

import collections
import math
import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from querydet.data.categories import Classes
from querydet.data.coco_checks import repair_box
from querydet.data.coco_records import ReadingRules
from querydet.data.columns import assemble, collect
from querydet.data.columns.files import open_columns
from querydet.data.columns.rows import IMAGE
from tests.data.columns.random_files import write
from tests.data.outlined import outlined

SIDES = st.sampled_from(
    [-5.0, -1.0, -0.999, 0.0, 1e-18, 0.5, 1, 9, 10, 10.5, 11, 11.000001, 1e17, 1e308, math.nan, math.inf]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES), min_size=1, max_size=8))
def test_boxes_are_repaired_as_single_ones(boxes):
    images = np.array([(1, 10, 10)] * len(boxes), IMAGE)
    repairs = collections.defaultdict(list)
    found, kept, clipped = assemble._repair(np.array(boxes, np.float64), np.arange(len(boxes)), images, repairs)
    for number, box in enumerate(boxes):
        expected, repair = repair_box(box, 10, 10)
        assert bool(kept[number]) == (expected is not None)
        assert bool(clipped[number]) == bool(repair)
        assert not repair or number in repairs[repair]
        if expected is not None:
            assert found[number].tolist() == expected


def test_columns_are_sorted_by_image(tmp_path):
    content = outlined()
    content["annotations"].reverse()
    os.mkdir(tmp_path / "raw")
    path = write(tmp_path / "a.json", content)
    found = collect.collect(path, "", ReadingRules(), str(tmp_path / "raw"))
    classes = Classes(["cat", "dog", "none"], {1: 1, 2: 0, 2**70: 2})  # ids beyond 64 bits are in no row
    assembled = assemble.assemble(found, classes, str(tmp_path))
    columns = open_columns(str(tmp_path), assembled.layout)
    assert columns["image_start"].tolist() == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert columns["annotation_id"][:6].tolist() == [2, 1, 0, 5, 4, 3]
    assert columns["category"].dtype == np.uint16
    assert columns["category"][:3].tolist() == [1, 0, 1]
    assert (assembled.objects, assembled.crowds, assembled.ignored) == (24, 0, 0)


def test_many_classes_have_wider_numbers():
    names = [str(number) for number in range(2**16 + 1)]
    classes = Classes(names, {number: number for number in range(len(names))})
    ids, indices = assemble._class_table(classes)
    assert indices.dtype == np.uint32
    assert indices[-1] == ids[-1] == 2**16
