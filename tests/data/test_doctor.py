"""The data doctor: everything that was put into a data set is found, with what the config does about it."""

import json

import pytest

from querydet.data import load_coco
from querydet.data.doctor import CHANGES, NOTE, STOPS, Treatment, compare, compare_classes, examine
from tests.data.sick import make_sick, save, write


@pytest.fixture
def sick(tmp_path):
    return make_sick(tmp_path)


def found_in(diagnosis):
    return {finding.kind: (finding.gravity, len(finding.places)) for finding in diagnosis.findings.values()}


def test_everything_is_found(sick):
    found = found_in(examine(*sick, Treatment(num_classes=2, num_queries=1)))
    assert found == {
        "gap in the category ids": (NOTE, 3),
        "class without objects": (NOTE, 1),
        "box leaves its image": (CHANGES, 1),
        "box lies outside its image": (CHANGES, 1),
        "box of zero or negative size": (CHANGES, 1),
        "box is NaN or infinite": (CHANGES, 1),
        "object is annotated twice": (NOTE, 1),
        "crowd region": (NOTE, 1),
        "image without objects": (NOTE, 1),
        "image with more objects than queries": (CHANGES, 1),
        "file is listed several times": (NOTE, 1),
        "image file does not exist": (STOPS, 1),
        "image file cannot be read": (STOPS, 1),
        "image has another size than annotated": (STOPS, 1),
        "EXIF orientation": (NOTE, 1),
        "files are equal": (NOTE, 1),
    }


def test_a_healthy_data_set_has_nothing_to_report(tmp_path):
    images = [(f"{number}.png", 40, 30) for number in range(5)]
    for number, (name, _, _) in enumerate(images):
        save(tmp_path / name, seed=number)
    boxes = [(i % 5, 1 + i // 5 % 2, [i, 2, 9, 9], {}) for i in range(20)]
    found = examine(write(tmp_path, images, boxes, ((1, "cat"), (2, "dog"))), str(tmp_path), Treatment(num_classes=2))
    assert (found.findings, found.stops) == ({}, False)
    assert (found.images, found.objects, found.classes) == (5, 20, ["cat", "dog"])


def test_the_switches_of_the_config_decide_what_stops(sick):
    skipping = Treatment(on_bad_image="skip", check_files=False)
    assert not examine(*sick, skipping).stops
    assert examine(*sick, Treatment(on_bad_image="skip")).findings["image file does not exist"].gravity == STOPS


def test_what_stops_is_what_stops_the_loader(sick, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        load_coco(*sick)
    content = json.loads((tmp_path / "data.json").read_text())
    content["annotations"][0]["category_id"] = 99
    content["images"][1]["width"] = -4
    content["images"].append({"id": "x"})
    (tmp_path / "data.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="unknown category_id"):
        load_coco(*sick)
    found = examine(*sick, Treatment(), files="none")
    kinds = [each.kind for each in found.findings.values() if each.gravity == STOPS]
    wanted = {"width is missing or not a positive integer", "image id is not an integer", "unknown category_id"}
    assert set(kinds) == wanted


@pytest.mark.parametrize("content", ["[]", "{}", '{"images": 3, "annotations": [], "categories": []}'])
def test_what_is_no_coco_json_is_said(tmp_path, content):
    (tmp_path / "data.json").write_text(content)
    assert examine(str(tmp_path / "data.json"), str(tmp_path), Treatment()).stops


def test_less_is_looked_at_when_asked_for(sick):
    kinds = {
        files: set(found_in(examine(*sick, Treatment(), files))) for files in ("none", "exist", "header", "decode")
    }
    assert kinds["exist"] - kinds["none"] == {"image file does not exist"}
    assert kinds["header"] - kinds["exist"] == {"image has another size than annotated", "EXIF orientation"}
    assert kinds["decode"] - kinds["header"] == {"image file cannot be read", "files are equal"}


def test_images_of_the_training_set_in_the_test_set(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "same.png")
        save(tmp_path / name / "other.png", seed=ord(name))
    sets = [
        examine(
            write(tmp_path / name, [("same.png", 40, 30), ("other.png", 40, 30)], []), str(tmp_path / name), Treatment()
        )
        for name in ("a", "b")
    ]
    compare(*sets)
    assert sets[1].findings["image is also in the training data"].places == ["same.png (in training: same.png)"]


def test_classes_are_compared_by_name(tmp_path):
    sets = []
    for name, categories in (
        ("train", ((1, "cat"), (2, "dog"), (3, "cow"))),
        ("test", ((1, "dog"), (2, "cat"), (4, "gnu"))),
    ):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "a.png")
        path = write(
            tmp_path / name, [("a.png", 40, 30)], [(0, 1, [1, 2, 3, 4], {}), (0, 2, [1, 2, 5, 4], {})], categories
        )
        sets.append(examine(path, str(tmp_path / name), Treatment()))
    compare_classes(*sets)
    found = found_in(sets[1])
    assert found["class that the training data lack"] == (NOTE, 1)  # no object has it
    assert found["class of the training data that is missing"] == (NOTE, 1)
    assert found["classes in another order than in training"] == (NOTE, 1)
    sets[1].objects_of["gnu"] = 3
    compare_classes(*sets)
    assert "gnu (3 objects)" in sets[1].findings["class that the training data lack"].places


def test_objects_count_however_they_are_written(tmp_path):
    """An image whose objects have wrong ids or boxes is not an image without objects."""
    save(tmp_path / "a.png")
    path = write(tmp_path, [("a.png", 40, 30)], [(0, 3, ["1", "2", "3", "4"], {}), (0.0, 3.0, [1, 2, 3, 4], {})])
    content = json.loads((tmp_path / "data.json").read_text())
    for entry in content["annotations"]:
        del entry["id"]
    (tmp_path / "data.json").write_text(json.dumps(content))
    found = examine(path, str(tmp_path), Treatment())
    assert "image without objects" not in found.findings
    assert found.stops


def test_what_leaves_nothing_to_learn_is_said(tmp_path):
    save(tmp_path / "a.png")
    crowds = write(tmp_path, [("a.png", 40, 30)], [(0, 3, [1, 2, 3, 4], {"iscrowd": 1})])
    assert found_in(examine(crowds, str(tmp_path), Treatment()))["all objects are crowd regions"] == (CHANGES, 1)
    nothing = write(tmp_path, [("a.png", 40, 30)], [])
    assert found_in(examine(nothing, str(tmp_path), Treatment()))["no image has any object"] == (CHANGES, 1)


def test_a_file_of_images_alone_stops_training_only(tmp_path):
    save(tmp_path / "a.png")
    path = write(tmp_path, [("a.png", 40, 30)], [])
    content = json.loads((tmp_path / "data.json").read_text())
    del content["annotations"]
    (tmp_path / "data.json").write_text(json.dumps(content))
    assert examine(path, str(tmp_path), Treatment()).stops
    found = examine(path, str(tmp_path), Treatment(training=False))
    assert not found.stops
    assert "the file lists images alone" in found.findings
