"""A build of columns: what it describes, what it says, and how much memory it needs."""

import json
import os
import random
import tracemalloc

import pytest

from querydet.data.coco_records import ReadingRules
from querydet.data.columns import build as building
from querydet.data.columns import collect, json_lists, ordering, read_columns
from querydet.data.columns.files import ColumnsError
from querydet.data.columns.records import DESCRIPTION
from querydet.data.columns.sealed import read_sealed, write_sealed
from querydet.utils.digest import hash_file
from tests.data.columns.memory import write_large
from tests.data.columns.random_files import both, write
from tests.data.outlined import outlined


@pytest.fixture
def built(tmp_path):
    """The path of a json and the folder of its columns."""
    folder = tmp_path / "columns"
    folder.mkdir()
    path = write(tmp_path / "a.json", outlined())
    building.build(path, "images", ReadingRules(), str(folder))
    return path, str(folder)


def test_the_description_has_the_digest_of_the_file(built):
    path, folder = built
    description = building.read_description(folder)
    assert description.sha256 == hash_file(path)
    assert description.digest["objects"] == 24
    assert description.stamp[0] == os.path.getsize(path)
    assert description.load(folder, "x").records.digests["annotations_sha256"] == description.sha256


def test_what_is_needed_while_building_alone_is_removed(built):
    names = {name.removesuffix(".column") for name in os.listdir(built[1])}
    images = {"image_id", "size", "name", "name_start", "image_start"}
    assert names == {DESCRIPTION, *images, "box", "area", "category", "crowd", "annotation_id"}


@pytest.mark.parametrize("change", [{"layout": []}, {"layout": {"x": 5}}, {"classes": {}}, {"digest": 5}, {"other": 1}])
def test_a_sealed_description_of_something_else_is_refused(built, change):
    """Of the same version, as of a copy of the program that was changed."""
    path = os.path.join(built[1], DESCRIPTION)
    write_sealed(path, {**read_sealed(path), **change})
    with pytest.raises(ColumnsError, match="damaged"):
        building.read_description(built[1]).load(built[1], "x")


def test_rules_come_back_from_a_json():
    rules = ReadingRules(classes=("a", "b"), image_lists=("x",))
    assert building.as_plain(rules) == json.loads(json.dumps(building.as_plain(rules)))


def test_notes_are_those_of_a_small_file(tmp_path):
    content = outlined(count=30)
    content["annotations"][3]["bbox"] = [-30, -30, 1000, 1000]
    content["annotations"][9]["bbox"] = [0, 0, 0, 1]
    content["annotations"][1]["bbox"] = [500, 500, 1, 1]
    content["annotations"][2]["ignore"] = 1
    content["annotations"][0]["segmentation"] = []
    random.Random(0).shuffle(content["annotations"])
    path = write(tmp_path / "a.json", content)
    for masks in (False, True):
        in_memory, in_columns = both(path, "x", ReadingRules(masks=masks))
        assert in_columns[3] == in_memory[3]
        assert len(in_columns[3]) >= 4


@pytest.mark.parametrize("in_order", [True, False])
def test_memory_does_not_grow_with_the_boxes(tmp_path, monkeypatch, in_order):
    """By their ids alone, 16 bytes each where they are in no order; as Python's objects they would take 500."""
    for module, name, value in (
        (json_lists, "PIECE", 1 << 14),
        (json_lists, "BATCH", 100),
        (collect, "CHUNK", 500),
        (ordering, "CHUNK", 500),
        (collect, "MOST_SAMPLED", 100),
    ):
        monkeypatch.setattr(module, name, value)
    peaks = []
    for boxes in (1000, 4000):
        path = write_large(tmp_path / f"{boxes}.json", images=50, boxes=boxes, in_order=in_order)
        tracemalloc.start()
        try:
            assert len(read_columns(path, "images", ReadingRules()).records) == 50
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] - peaks[0] < 3000 * 40
