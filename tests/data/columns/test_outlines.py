"""Outlines survive their bytes; what is wrong with them is reported as of a small file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querydet.data.coco_records import ReadingRules
from querydet.data.columns import outlines
from querydet.data.columns.outlines import decode, encode
from tests.data.columns.random_files import assert_same, both, write
from tests.data.outlined import outlined, with_outlines
from tests.data.test_masks import BROKEN

POLYGON = st.lists(st.floats(allow_nan=False), max_size=10).map(np.array)


@given(st.lists(POLYGON, min_size=1, max_size=4))
def test_polygons_come_back(polygons):
    found = decode(encode(polygons))
    assert [array.dtype for array in found] == [np.float64] * len(polygons)
    assert [array.tolist() for array in found] == [array.tolist() for array in polygons]
    assert all(array.flags.writeable for array in found)


def test_run_lengths_come_back():
    outline = {"size": [30, 40], "counts": "ab\\`0ü"}
    assert_same(decode(encode(outline)), outline)


def problems(path, **options):
    in_memory, in_columns = both(path, "x", ReadingRules(masks=True, **options))
    return in_memory, in_columns


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_outline_is_reported_as_in_a_small_file(tmp_path, name, monkeypatch):
    monkeypatch.setattr(outlines, "AT_ONCE", 2)
    content = outlined()
    for image in content["images"]:
        image |= {"width": 40, "height": 30}
    for entry in content["annotations"]:
        entry |= {"bbox": [1, 1, 9, 9], "segmentation": [[1, 1, 10, 1, 10, 10]]}
    content["annotations"][5]["segmentation"] = BROKEN[name][0]
    in_memory, in_columns = problems(write(tmp_path / "a.json", content))
    assert in_columns == in_memory
    assert "annotation 5 of image 2 (2.png)" in in_columns


@pytest.mark.parametrize("box", [None, []])
def test_neither_box_nor_outline_is_reported_as_in_a_small_file(tmp_path, box):
    content = outlined()
    content["annotations"][4] |= {"bbox": box, "segmentation": []}
    in_memory, in_columns = problems(write(tmp_path / "a.json", content))
    assert in_columns == in_memory
    assert f"bbox is not a list of four numbers: annotation 4 ({box})" in in_columns


def test_outlines_together_are_judged_as_in_a_small_file(tmp_path):
    cases = {
        "fractions": with_outlines(outlined(), lambda x, y, width, height: (x / width, y / height)),
        "elsewhere": with_outlines(outlined(count=40), lambda x, y, width, height: (y / 9, x / 9)),
        "none": outlined(),
    }
    for entry in cases["none"]["annotations"]:
        del entry["segmentation"]
    for name, content in cases.items():
        in_memory, in_columns = problems(write(tmp_path / f"{name}.json", content))
        assert in_columns == in_memory, name
        assert "together" in in_columns, name
    in_memory, in_columns = problems(str(tmp_path / "fractions.json"), check_boxes=False)
    assert_same(in_memory, in_columns)
