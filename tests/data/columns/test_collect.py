"""One pass over a json: rows on the disk, an even sample, and a bounded number of entries that fit into no row."""

import pytest

from querydet.data.coco_records import ReadingRules
from querydet.data.columns import collect, json_lists
from querydet.data.columns.collect import EvenSample
from querydet.data.columns.files import column_path
from tests.data.columns.random_files import write
from tests.data.outlined import outlined


def read(tmp_path, content, **rules):
    folder = tmp_path / "raw"
    folder.mkdir()
    return collect.collect(write(tmp_path / "a.json", content), "", ReadingRules(**rules), str(folder))


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 57, 1000])
def test_a_sample_is_even(batch, count):
    sample = EvenSample(5)
    for first in range(0, count, batch):
        sample.add(first, list(range(first, min(first + batch, count))))
    step = sample.entries[1] if len(sample.entries) > 1 else 1
    assert sample.entries == list(range(0, count, step))
    assert len(sample.entries) <= 10
    assert step == 1 or len(sample.entries) >= 5


def test_a_sample_of_few_has_all():
    sample = EvenSample(5)
    sample.add(0, list("abcdefghij"))
    assert "".join(sample.entries) == "abcdefghij"


def test_rows_are_read_in_chunks(tmp_path, monkeypatch):
    found = read(tmp_path, outlined())
    monkeypatch.setattr(collect, "CHUNK", 10)
    assert [len(rows) for rows in found.chunks()] == [10, 10, 4]
    assert [number for rows in found.chunks() for number in rows["id"].tolist()] == list(range(24))
    assert (found.count, len(found.images), len(found.categories)) == (24, 8, 2)


def test_categories_after_many_odd_entries_are_read(tmp_path, monkeypatch):
    """Else all of them would be missing from the report, and those of the rows unknown."""
    monkeypatch.setattr(collect, "MOST_ODD", 5)
    monkeypatch.setattr(json_lists, "BATCH", 4)
    content = outlined()
    for entry in content["annotations"][3:]:
        entry["bbox"] = None
    found = read(tmp_path, {key: content[key] for key in ("annotations", "categories", "images")})
    assert found.too_odd
    assert [position for position, _ in found.odd_annotations] == [3, 4, 5, 6, 7]
    assert (len(found.categories), len(found.images)) == (2, 8)


def test_outlines_are_apart_from_the_rows(tmp_path):
    content = outlined()
    content["annotations"][1]["bbox"] = "odd"
    del content["annotations"][2]["segmentation"]
    found = read(tmp_path, content, masks=True)
    (rows,) = found.chunks()
    with open(column_path(found.folder, collect.OUTLINES), "rb") as file:
        data = file.read()
    texts = [data[place : place + length].decode() for place, length in rows["outline"].tolist()]
    assert texts[0] == str(content["annotations"][0]["segmentation"])
    assert texts[1] == "null"
    assert len(data) == found.outline_bytes
    assert "segmentation" not in found.odd_annotations[0][1]
