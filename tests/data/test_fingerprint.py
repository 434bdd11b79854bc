"""A fingerprint is of the content of a data set and not of its place."""

import os

import numpy as np
import pytest
from detectron2.data import MetadataCatalog

from querydet.data import load_coco
from querydet.data.fingerprint import MAX_FILES, differences, fingerprint


class Records:
    """A data set of a loader: any number of images, of which some are read."""

    def __init__(self, records, name=""):
        self.records, self.name, self.read = records, name, []

    def __len__(self):
        return len(self.records)

    def record(self, index):
        self.read.append(index)
        return self.records[index]


def of_coco(paths):
    dataset = load_coco(*paths)
    return fingerprint(Records(dataset, dataset.name))


def test_a_json_and_its_images_are_hashed(write_coco, coco_json):
    annotations, images = write_coco(coco_json)
    first = of_coco((annotations, images))
    assert (first["images"], first["hashed_files"], first["annotations"]) == (3, 3, annotations)
    other = of_coco(write_coco(coco_json, "copy"))
    assert [other[key] for key in ("annotations_sha256", "files_sha256")] == [
        first[key] for key in ("annotations_sha256", "files_sha256")
    ]
    with open(os.path.join(images, "b.png"), "ab") as file:
        file.write(b"x")
    changed = of_coco((annotations, images))
    assert changed["files_sha256"] != first["files_sha256"]
    assert changed["annotations_sha256"] == first["annotations_sha256"]


def test_the_hashed_files_are_few_and_evenly_spread():
    dataset = Records([{"file_name": f"nowhere/{number}.png"} for number in range(10 * MAX_FILES)])
    assert fingerprint(dataset)["hashed_files"] == MAX_FILES
    assert dataset.read[-MAX_FILES:] == list(range(0, 10 * MAX_FILES, 10))  # after all records


def test_data_that_are_no_files_have_a_name_and_a_number():
    assert fingerprint([1, 2, 3]) == {"name": "", "images": 3}


def records(*changes, folder="/a", name=""):
    found = [
        {
            "file_name": f"{folder}/{index}.png",
            "mask": f"{folder}/masks/{index}.png",
            "height": 4,
            "annotations": [{"bbox": [0, 1.5]}],
        }
        for index in range(3)
    ]
    for change in changes:
        change(found)
    return fingerprint(Records(found, name))


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (lambda found: found[0]["annotations"][0].update(bbox=[0, 1.25]), 1),
        (lambda found: found[1]["annotations"].append({}), 2),  # their number, and the digest
        (lambda found: found.reverse(), 2),  # another order is another stream; images are hashed by name
        (lambda found: found[2].update(file_name="/a/other.png"), 2),
        (lambda found: found[2].update(file_name="/a/deeper/2.png"), 1),
        (lambda found: found.pop(), 3),
        (lambda found: found[0].update(extra=np.arange(3)), 1),
        (lambda found: found[0].update(extra=b"rle"), 1),
    ],
)
def test_whatever_training_sees_is_compared(change, lines):
    found = differences(records(), records(change))
    assert 1 <= len(found) <= lines
    assert all(" -> " in line for line in found)


def test_the_place_of_the_data_is_not_compared():
    assert differences(records(), records(folder="/elsewhere/b")) == []


def test_values_without_a_text_of_their_own_are_no_difference():
    def add(found):
        circle = []
        circle.append(circle)
        found[0].update(thing=object(), tags={"a", "b"}, circle=circle)
        found[1].update({(1, 2): 3})

    assert differences(records(add), records(add)) == []


def test_names_of_classes_are_part_of_the_data():
    for name, classes in (("birds_1", ["owl", "tit"]), ("birds_2", ["owl", "jay"])):
        MetadataCatalog.get(name).thing_classes = classes
    assert len(differences(records(name="birds_1"), records(name="birds_2"))) == 1
    assert records(name="birds_1")["categories"] == 2


def test_what_another_version_did_not_note_is_not_compared():
    now = records()
    assert differences({"images": 3}, now) == differences({}, now) == differences(now, {}) == []
    before = {"images": 3, "annotations_sha256": "a" * 64, "files_sha256": "b" * 64, "hashed_files": 9}
    assert differences(before, {**now, "annotations_sha256": "c" * 64}) == [
        f"digest of the annotation file: {'a' * 12} -> {'c' * 12}"
    ]


def test_an_image_that_cannot_be_read_is_no_error(tmp_path, monkeypatch):
    path = tmp_path / "0.png"
    path.write_bytes(b"image")

    def fail(*_):
        raise PermissionError

    monkeypatch.setattr("querydet.data.fingerprint.open", fail, raising=False)
    assert fingerprint(Records([{"file_name": str(path)}]))["hashed_files"] == 1
