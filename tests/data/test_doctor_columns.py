"""A large json is examined by its columns, and the same is found as in a small one."""

import json
from functools import partial

import pytest

from querydet.data import columns
from querydet.data.diagnosis import STOPS, Treatment
from querydet.data.doctor import examine
from querydet.data.doctor_columns import ImageEntries, examine_columns
from querydet.data.objects365 import used_records


@pytest.fixture
def unusual(coco_json):
    """A json with most of what can be counted: repeated objects, crowds, empty and full images, bad boxes."""
    for number, image in enumerate(range(20, 40)):
        coco_json["images"].append({"id": image, "file_name": f"{number % 19}.png", "width": 64, "height": 48})
        for place in range(number):
            box = [place, 2, 5.5, 40]
            item = {"id": 100 * image + place, "image_id": image, "category_id": 18, "bbox": box, "iscrowd": 0}
            coco_json["annotations"].append(item)
    coco_json["annotations"] += [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]},
        {"id": 3, "image_id": 9, "category_id": 3, "bbox": [-9, 2, 300, 4]},
        {"id": 4, "image_id": 9, "category_id": 3, "bbox": [900, 2, 3, 4]},
        {"id": 8, "image_id": 9, "category_id": 3, "bbox": [9, 2, 0, 4]},
        {"id": 9, "image_id": 9, "category_id": 3, "bbox": [9, float("nan"), 1, 4]},
    ]
    return coco_json


def both(tmp_path, content, treatment, monkeypatch, files="none"):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    small = examine(str(path), str(tmp_path), treatment, files)
    monkeypatch.setattr(columns, "LEAST_BYTES", 0)
    return small, examine(str(path), str(tmp_path), treatment, files)


@pytest.mark.parametrize("training", [True, False])
def test_what_is_found_in_a_small_file_is_found_in_a_large_one(tmp_path, unusual, monkeypatch, training):
    treatment = Treatment(num_classes=4, num_queries=10, training=training)
    small, large = both(tmp_path, unusual, treatment, monkeypatch)
    counts = [
        {kind: (each.gravity, len(each.places)) for kind, each in found.findings.items()} for found in (small, large)
    ]
    assert counts[0] == counts[1]
    assert (small.images, small.classes) == (large.images, large.classes)
    assert large.objects == small.objects - 3  # those without dropped boxes
    assert {**small.objects_of, "car": 3} == large.objects_of


def test_images_of_one_name_in_two_folders_stay_apart(tmp_path, coco_json, monkeypatch):
    size = {"width": 64, "height": 48}
    names = ("a/1.png", "b/1.png", "a/1.png", "b/1.png", "c/1.png")
    coco_json["images"] += [{"id": 50 + number, "file_name": name, **size} for number, name in enumerate(names)]
    small, large = both(tmp_path, coco_json, Treatment(), monkeypatch)
    for kind in ("file is listed several times", "image without objects"):
        assert large.findings[kind].places == small.findings[kind].places
    assert large.findings["file is listed several times"].places == ["a/1.png (2 times)", "b/1.png (2 times)"]


def test_files_are_examined(tmp_path, write_coco, coco_json, monkeypatch):
    path, images = write_coco(coco_json)
    (tmp_path / "train_images" / "b.png").unlink()
    monkeypatch.setattr(columns, "LEAST_BYTES", 0)
    seen = []
    found = examine(path, images, Treatment(), "decode", lambda done, total: seen.append((done, total)))
    assert found.findings["image file does not exist"].places == ["b.png"]
    assert seen[-1] == (3, 3)


def test_problems_are_findings(tmp_path, coco_json, monkeypatch):
    coco_json["annotations"][0]["image_id"] = 99
    coco_json["annotations"][1]["bbox"] = [1]
    small, large = both(tmp_path, coco_json, Treatment(), monkeypatch)
    stops = {kind: found.places for kind, found in small.findings.items() if found.gravity == STOPS}
    assert {kind: found.places for kind, found in large.findings.items()} == stops


def test_a_part_of_the_images(tmp_path, coco_json):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(coco_json))
    treatment = Treatment(choose=lambda records, folder: [each for each in records if each["image_id"] != 7])
    found = examine_columns(str(path), str(tmp_path), treatment, "none")
    assert (found.images, found.objects) == (2, 1)


@pytest.mark.parametrize("file_names", ["file_name", "last_two"])
def test_files_are_those_that_objects365_uses(tmp_path, coco_json, monkeypatch, file_names):
    size = {"width": 64, "height": 48}
    for number, name in enumerate(("v1/p0/1.png", "v2/p0/1.png", "v1/p1/1.png", "v1/p9/1.png")):
        coco_json["images"].append({"id": 50 + number, "file_name": name, **size})
        if number < 3:
            for folder in ((tmp_path / name).parent, tmp_path / name.split("/")[1]):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "1.png").touch()
    choose = partial(used_records, file_names=file_names, missing_images="all")
    small, large = both(tmp_path, coco_json, Treatment(choose=choose), monkeypatch, "exist")
    assert {kind: found.places for kind, found in small.findings.items()} == {
        kind: found.places for kind, found in large.findings.items()
    }
    assert small.images == large.images == 3
    repeated = {"file_name": [], "last_two": ["p0/1.png (2 times)"]}
    found = large.findings.get("file is listed several times")
    assert (found.places if found else []) == repeated[file_names]


def test_images_as_entries(tmp_path):
    records = [{"file_name": "root/a/x.png", "width": 3, "height": 4, "image_id": 5}]
    entries = ImageEntries(records, "root")
    assert list(entries) == list(entries[:]) == [{"id": 5, "file_name": "a/x.png", "width": 3, "height": 4}]
