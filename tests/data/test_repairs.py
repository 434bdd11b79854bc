"""A repaired file loads, everything that was done is listed, and what is ambiguous is left and named."""

import copy
import json
import math
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from querydet.data import DetrDatasetMapper, load_coco
from querydet.data.repairs import list_done, problems_left, repair, write_fixed
from tests.data.test_box_format import KINDS, scenes
from tests.data.test_coco_checks import JSON_VALUES


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png", "c d.png"):
        Image.fromarray(np.zeros((120, 160, 3), np.uint8)).save(tmp_path / "images" / name)
    return tmp_path


def right():
    outline = [[10, 20, 40, 20, 40, 60, 10, 60]]
    return {
        "images": [
            {"id": index, "file_name": name, "width": 160, "height": 120}
            for index, name in enumerate(("a.png", "b.png", "c d.png"), start=1)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "segmentation": outline},
            {"id": 2, "image_id": 2, "category_id": 2, "bbox": [10, 20, 30, 40], "iscrowd": 0, "area": 900},
            {"id": 3, "image_id": 2, "category_id": 1, "bbox": [50, 20, 30, 40], "iscrowd": 1, "segmentation": outline},
        ],
    }


def every(key, change, entries="annotations"):
    def apply(content):
        for entry in content[entries]:
            entry[key] = change(entry.get(key))

    return apply


def one(key, value, entries="annotations"):
    def apply(content):
        content[entries][0][key] = value

    return apply


def several(*changes):
    def apply(content):
        for change in changes:
            change(content)

    return apply


FAULTS = {
    "ids as floats": several(
        *(every("id", float, entries) for entries in ("images", "annotations", "categories")),
        every("image_id", float),
        every("category_id", float),
    ),
    "ids as texts": several(every("id", str, "images"), every("image_id", str)),
    "ids of the categories as texts": several(every("id", str, "categories"), every("category_id", str)),
    "annotations without ids": lambda content: [entry.pop("id") for entry in content["annotations"]],
    "annotations of one id": every("id", lambda _: 1),
    "boxes as texts": every("bbox", lambda box: [str(value) for value in box]),
    "boxes as objects": every("bbox", lambda box: dict(zip(("x", "y", "width", "height"), box, strict=True))),
    "no box": one("bbox", None),
    "an empty box": one("bbox", []),
    "a box that is not finite": one("bbox", [math.nan, 1, 2, 3]),
    "a box of negative size": one("bbox", [40, 60, -30, -40]),
    "crowds as truth values": every("iscrowd", bool),
    "crowds as texts": every("iscrowd", lambda flag: str(flag or 0)),
    "crowds as null": lambda content: [
        entry.update(iscrowd=entry.get("iscrowd") or None) for entry in content["annotations"]
    ],
    "crowds as words": every("iscrowd", lambda flag: "True" if flag else "false"),
    "names as numbers": every("name", lambda name: {"cat": 1, "dog": 2}[name], "categories"),
    "sizes as texts": several(every("width", str, "images"), every("height", lambda side: f"{side}.0", "images")),
    "no sizes": several(every("width", lambda _: None, "images"), every("height", lambda _: None, "images")),
    "annotations of unknown images": lambda content: content["annotations"].append(
        {"id": 9, "image_id": 99, "category_id": 1, "bbox": [1, 2, 3, 4]}
    ),
    "addresses in file names": every("file_name", lambda name: name.replace(" ", "%20"), "images"),
    "backslashes and another folder": every("file_name", lambda name: "images\\" + name, "images"),
    "another case": every("file_name", str.upper, "images"),
    "areas as texts": every("area", lambda area: str(area or 900)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_repaired_file_has_the_same_objects_as_the_right_one(folder, name):
    images, wanted = str(folder / "images"), right()
    broken = copy.deepcopy(wanted)
    FAULTS[name](broken)
    before = copy.deepcopy(broken)
    fixed, done = repair(broken, images)
    assert repr(broken) == repr(before)  # the input is not changed
    assert done
    assert not problems_left(fixed, "x", images)
    loaded = []
    for stem, content in (("wanted", wanted), ("fixed", fixed)):
        path = folder / f"{stem}.json"
        path.write_text(json.dumps(content))
        loaded.append(load_coco(str(path), images))
    for first, second in zip(*loaded, strict=True):
        assert first["file_name"] == second["file_name"]
        for one_object, other in zip(first["annotations"], second["annotations"], strict=True):
            for key in ("bbox", "category_id", "iscrowd"):
                assert one_object[key] == other[key]
    assert DetrDatasetMapper(is_train=True, augmentations=[])(loaded[1][0])["instances"].gt_boxes.tensor.tolist() == [
        [10, 20, 40, 60]
    ]


def test_a_right_file_stays_as_it_is(folder):
    fixed, done = repair(right(), str(folder / "images"))
    assert (fixed, done) == (right(), {})
    assert list_done(done, {}) == "nothing to repair"


def test_files_that_cannot_be_used_are_left_problems(folder):
    images = str(folder / "images")
    Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(folder / "images" / "a.png")
    (folder / "images" / "b.png").write_text("<html>404</html>")
    assert problems_left(right(), "x", images) == {
        "image has another size than annotated": ["a.png"],
        "image file cannot be read": ["b.png"],
    }


def test_a_file_within_a_list(folder):
    assert repair([right()], str(folder / "images"))[0] == right()


AMBIGUOUS = {
    "two images of one id": one("id", 2, "images"),
    "an unknown class": one("category_id", 7),
    "no name": one("name", None, "categories"),
    "equal names in use": one("name", "dog", "categories"),
    "a crowd of a kind of its own": one("iscrowd", 2),
    "neither box nor outline": several(one("bbox", None), one("segmentation", None)),
    "an outline of two points": several(one("bbox", None), one("segmentation", [[1, 2, 3, 4]])),
    "a file that is nowhere": one("file_name", "gone.png", "images"),
    "no annotations": lambda content: content.pop("annotations"),
    "another format": lambda content: content.update(images={"1": "a.png"}),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_is_ambiguous_is_left_and_named(folder, name):
    content = right()
    AMBIGUOUS[name](content)
    fixed, _ = repair(content, str(folder / "images"))
    left = problems_left(fixed, "x", str(folder / "images"))
    assert left
    assert len(fixed.get("annotations", [])) == len(content.get("annotations", []))
    assert next(iter(left)) in list_done({}, left)


def test_run_lengths_have_a_box(folder):
    content = right()
    # columns first: two rows from the second on in the columns 1 and 2 of a 4 x 5 mask
    content["annotations"][0].update(bbox=None, segmentation={"size": [4, 5], "counts": [5, 2, 2, 2, 9]})
    assert repair(content, str(folder / "images"))[0]["annotations"][0]["bbox"] == [1, 1, 2, 2]
    for broken in ({"size": [4, 5], "counts": [5, 2]}, {"size": [4, 5], "counts": "x~~"}, {"counts": []}, {"size": 3}):
        content["annotations"][0]["segmentation"] = broken
        assert repair(content, str(folder / "images"))[0]["annotations"][0]["bbox"] is None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != ("xywh", False)])
def test_boxes_of_another_kind_are_converted(folder, kind):
    content = right()
    content["annotations"] = [
        {"id": index, "image_id": 1, "category_id": 1, "bbox": KINDS[kind](*box)}
        for index, box in enumerate(scenes(300))
    ]
    fixed, done = repair(content, str(folder / "images"))
    assert [kind for kind in done if "converted" in kind]
    for entry, box in zip(fixed["annotations"], scenes(300), strict=True):
        assert entry["bbox"] == pytest.approx(box, abs=0.01)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["images", "annotations", "categories"]),
    key=st.sampled_from(["id", "image_id", "category_id", "bbox", "iscrowd", "area", "width", "file_name", "name"]),
    value=JSON_VALUES | st.lists(st.integers() | st.floats(), min_size=4, max_size=4),
)
def test_any_value_anywhere_is_repaired_or_left(folder, kind, key, value):
    content = right()
    content[kind][0][key] = value
    images = str(folder / "images")
    fixed, _ = repair(content, images)
    json.dumps(fixed)
    again, done = repair(fixed, images)
    assert repr(again) == repr(fixed)  # a second repair finds nothing to do
    assert not done


@settings(max_examples=50, deadline=None)
@given(JSON_VALUES)
def test_any_json_is_repaired_without_a_crash(value):
    repair(value, "/nowhere")


@pytest.mark.parametrize("way", ["same", "link", "hard", "temporary"])
def test_the_input_is_never_overwritten(folder, way):
    source = folder / ("x.json.tmp" if way == "temporary" else "x.json")
    source.write_text("{}")
    target = source
    if way == "link":
        (target := folder / "y.json").symlink_to(source)
    elif way == "hard":
        os.link(source, target := folder / "y.json")
    elif way == "temporary":
        target = folder / "x.json"
    with pytest.raises(ValueError, match="would overwrite its input"):
        write_fixed(str(target), str(source), {"fixed": True})
    assert source.read_text() == "{}"


def test_a_new_file_is_complete_or_not_there(folder):
    (folder / "x.json").write_text("{}")
    with pytest.raises(TypeError):
        write_fixed(str(folder / "new.json"), str(folder / "x.json"), {"fixed": object()})
    with pytest.raises(ValueError, match="name a file in a folder that exists"):
        write_fixed(str(folder / "no" / "new.json"), str(folder / "x.json"), {})
    with pytest.raises(ValueError, match="name a file in a folder that exists"):
        write_fixed(str(folder), str(folder / "x.json"), {})
    assert sorted(path.name for path in folder.iterdir()) == ["images", "x.json"]
    write_fixed(str(folder / "new.json"), str(folder / "x.json"), {"fixed": True})
    assert json.loads((folder / "new.json").read_text()) == {"fixed": True}
