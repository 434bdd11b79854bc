"""Columns of data sets: those of records that have columns, and those collected from dicts."""

import numpy as np
import pytest

from querydet.data import join_datasets, load_coco, without_first
from querydet.data.record_columns import COLUMNS, chunks, column


class Columns(list):
    """Records that keep their ids apart."""

    def column(self, name, start, stop):
        return np.arange(start, stop) * 10


def test_columns_are_those_of_the_dicts(write_coco, coco_json):
    dataset = load_coco(*write_coco(coco_json))
    found = {name: column(dataset, name).tolist() for name in COLUMNS}
    assert found["image_id"] == [7, 9, 12]
    assert found["file_name"] == [record["file_name"] for record in dataset]
    assert found["num_objects"] == [2, 1, 0]
    assert found["id"] == [0, 5, 6]
    assert found["category_id"] == [2, 0, 1]
    assert found["iscrowd"] == [0, 1, 0]
    assert found["bbox"] == [item["bbox"] for record in dataset for item in record["annotations"]]
    assert column(dataset, "id", 1, 2).tolist() == [6]
    assert column(dataset, "bbox", 2).shape == (0, 4)


def test_records_with_columns_are_not_read():
    assert column(Columns([None] * 4), "image_id", 1, 3).tolist() == [10, 20]


def test_ids_that_are_no_integers_stay_what_they_are():
    for values in (["a", "b"], [1, "b"], [2**70, 1], [(1, 2), (3, 4)]):
        found = column([{"image_id": value} for value in values], "image_id")
        assert found.dtype == object
        assert found.tolist() == values


def test_unknown_columns_are_refused():
    with pytest.raises(ValueError, match="'area'"):
        column([], "area")


def test_chunks_cover_all_images_once():
    assert list(chunks([0] * 5, 2)) == [(0, 2), (2, 4), (4, 5)]
    assert list(chunks([], 2)) == []


def test_columns_of_large_files_are_those_of_small_ones(write_coco, coco_json):
    paths = write_coco(coco_json)
    small, large = load_coco(*paths, cache=False), load_coco(*paths, cache=True)
    assert hasattr(large.records, "column")
    for name in COLUMNS:
        for start, stop in ((0, 3), (1, 2), (3, 3)):
            assert column(large, name, start, stop).tolist() == column(small, name, start, stop).tolist(), name
    views = [join_datasets([without_first(each, 1)]).records for each in (small, large)]
    assert views[0].digests["records_sha256"] == views[1].digests["records_sha256"]
