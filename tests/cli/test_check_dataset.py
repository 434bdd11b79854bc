"""The data doctor: everything that was put into a data set is found, with what the config does about it."""

import json

import numpy as np
import pytest
from PIL import Image

from querydet.data import load_coco
from querydet.data.doctor import CHANGES, NOTE, STOPS, Treatment, compare, examine


def save(path, width=40, height=30, seed=0, **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def write(folder, images, boxes, categories=((3, "cat"), (7, "dog"))):
    """A data set of files that exist; boxes are (image id, category id, box) with further keys."""
    content = {
        "images": [{"id": i, "file_name": name, "width": w, "height": h} for i, (name, w, h) in enumerate(images)],
        "categories": [{"id": number, "name": name} for number, name in categories],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box, **more}
            for i, (image, category, box, more) in enumerate(boxes)
        ],
    }
    path = folder / "data.json"
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def sick(tmp_path):
    """A data set with one of everything."""
    save(tmp_path / "good.png")
    save(tmp_path / "wide.png", width=50, seed=1)
    save(tmp_path / "cut.jpg", seed=2)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-300])
    save(tmp_path / "empty.png", seed=3)
    (tmp_path / "copy.png").write_bytes((tmp_path / "good.png").read_bytes())
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "turned.jpg", width=30, height=40, seed=4, exif=exif)
    names = ["good.png", "wide.png", "cut.jpg", "empty.png", "copy.png", "turned.jpg", "gone.png", "good.png"]
    box = [5.0, 5.0, 10.0, 10.0]
    boxes = [(image, 3, box, {}) for image in (0, 1, 2, 4, 5, 6, 7)]
    boxes += [(0, 3, bad, {}) for bad in ([30, 20, 20, 20], [90, 90, 5, 5], [5, 5, 0, 3], [5, 5, float("nan"), 3])]
    boxes += [(0, 3, box, {}), (1, 3, [0, 0, 40, 30], {"iscrowd": 1})]
    return write(tmp_path, [(name, 40, 30) for name in names], boxes), str(tmp_path)


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
    assert kinds["header"] - kinds["exist"] == {"image has another size than annotated"}
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


def test_program(sick, cli, tmp_path, capsys):
    check = cli("check_dataset")
    arguments = ["--annotations", sick[0], "--images", sick[1], "--json", str(tmp_path / "out.json")]
    assert check.main(arguments) == 1
    printed = capsys.readouterr().out
    assert "The run would stop: see STOPS in data" in printed
    assert "cut.jpg" in printed
    assert len(json.loads((tmp_path / "out.json").read_text())["data"]["findings"]) == 14


def test_program_on_a_config(cli, config, capsys):
    check = cli("check_dataset")
    assert check.main(["--config-file", config]) == 0
    assert "train: " in capsys.readouterr().out
    assert check.main(["--config-file", config, "model.num_classes=4"]) == 1
    assert "wrong number of classes" in capsys.readouterr().out
