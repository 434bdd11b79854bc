"""Reading of a json to records, as far as it is not a matter of a single box; see test_coco.py."""

import json

import pytest

from querydet.data import coco_records
from querydet.data.coco_records import ReadingRules, read_records


def test_a_file_that_changes_while_it_is_read_is_refused(write_coco, coco_json, monkeypatch):
    path, images = write_coco(coco_json)
    read = coco_records.read_json

    def read_and_change(name):
        content = read(name)
        with open(name, "a") as file:
            file.write(" ")
        return content

    monkeypatch.setattr(coco_records, "read_json", read_and_change)
    with pytest.raises(ValueError, match="changed while it was read"):
        read_records(path, images, ReadingRules())


def test_an_unchanged_file_is_read_once(write_coco, coco_json):
    path, images = write_coco(coco_json)
    assert read_records(path, images, ReadingRules()) is read_records(path, images, ReadingRules())


def test_lists_and_frequencies_of_lvis_are_kept(write_coco, coco_json):
    for image in coco_json["images"]:
        image["neg_category_ids"] = [90, 3]
    for category, frequency in zip(coco_json["categories"], "rcf", strict=True):
        category["frequency"] = frequency
    path, images = write_coco(coco_json)
    loaded = read_records(path, images, ReadingRules(image_lists=("neg_category_ids",)))
    assert [record["neg_category_ids"] for record in loaded.records] == [[0, 2]] * 3  # 3 is class 0, 90 class 2
    assert loaded.classes.frequency == ("c", "f", "r")
    matched = read_records(path, images, ReadingRules(classes=("dog", "cat", "toothbrush", "car")))
    assert matched.classes.frequency == ("f", "", "r", "c")


def test_images_without_a_file_name_are_found_by_their_address(tmp_path, coco_json):
    for image in coco_json["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image.pop('file_name')}"
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(coco_json))
    loaded = read_records(str(path), "coco", ReadingRules())
    assert [record["file_name"] for record in loaded.records] == [f"coco/val2017/{name}.png" for name in "abc"]
