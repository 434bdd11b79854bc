"""Rows come in the order of the images, and those of an image in the order of the json, however few are in memory."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querydet.data.columns import collect, ordering
from querydet.data.columns.collect import Collected
from querydet.data.columns.files import column_path
from querydet.data.columns.ordering import rows_by_image
from querydet.data.columns.rows import ANNOTATION, IMAGE


@settings(max_examples=30, deadline=None)
@given(ids=st.lists(st.sampled_from([5, -3, 2**40, 0, 9]), max_size=40), chunk=st.integers(1, 12))
def test_rows_are_sorted_by_image_and_keep_their_order(tmp_path_factory, ids, chunk):
    folder = str(tmp_path_factory.mktemp("rows"))
    images = np.array([(number, 1, 1) for number in (9, 5, -3, 7, 2**40, 0)], IMAGE)
    rows = np.zeros(len(ids), ANNOTATION)
    rows["id"], rows["image_id"] = np.arange(len(ids)), ids
    if ids:
        rows.tofile(column_path(folder, collect.ROWS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "CHUNK", chunk)
        patch.setattr(ordering, "CHUNK", chunk)
        parts = list(rows_by_image(Collected(folder, images=images, count=len(ids))))
    order = images["id"].tolist().index
    expected = sorted(range(len(ids)), key=lambda number: order(ids[number]))
    assert [number for part, _ in parts for number in part["id"].tolist()] == expected
    assert [place for _, places in parts for place in places.tolist()] == sorted(map(order, ids))
    assert os.listdir(folder) == (["rows.column"] if ids else [])
    assert parts  # at least one, so that columns without rows are written
