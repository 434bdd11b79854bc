"""What is repaired in a COCO json, and what is refused, with every problem named."""

import copy
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from querydet.data import class_names, load_coco
from querydet.data.coco_checks import find_problems, repair_box
from tests.data.storages import pytest_generate_tests  # noqa: F401


def load_json(tmp_path, content):
    """Loads a json whose images do not matter."""
    path = tmp_path / "broken.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_coco(str(path), str(tmp_path), check_files=False)


@pytest.mark.parametrize(
    ("box", "expected", "repair"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], ""),
        ([-0.4, 0, 10, 10.3], [-0.4, 0, 10, 10.3], ""),  # COCO's rounding: leave it
        ([-5, 0, 10, 10], [0, 0, 5, 10], "clipped"),
        ([35, 25, 100, 100], [35, 25, 5, 5], "clipped"),
        ([40, 0, 5, 5], None, "outside"),
        ([-9, -9, 3, 3], None, "outside"),
        ([1, 1, 0, 5], None, "empty"),
        ([1, 1, 5, -2], None, "empty"),
        ([math.nan, 1, 5, 5], None, "nonfinite"),
        ([1, 1, math.inf, 5], None, "nonfinite"),
        ([1e308, 1, 1e308, 5], None, "nonfinite"),
        ([10**400, 1, 5, 5], None, "nonfinite"),
    ],
)
def test_box_repairs(box, expected, repair):
    assert repair_box(box, width=40, height=30) == (expected, repair)


def test_missing_annotation_file_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no\.json does not exist: check dataloader\.{train,test}\.dataset\.annotations"
    ):
        load_coco(str(tmp_path / "no.json"), str(tmp_path))


def test_unreadable_annotation_file_is_named(tmp_path, monkeypatch):
    path = tmp_path / "locked.json"
    path.write_text("{}")

    def refuse(*args, **kwargs):
        raise PermissionError("permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ValueError, match=r"locked\.json cannot be read: permission denied"):
        load_coco(str(path), str(tmp_path))


@pytest.mark.parametrize("text", ['{"images": [', "", "not json", '{"a": "\\ud8', "[" * 100_000])
def test_malformed_json_is_named(tmp_path, text):
    with pytest.raises(ValueError, match=r"broken\.json is not valid json"):
        load_json(tmp_path, text)


def test_byte_order_mark_is_passed_over(tmp_path, coco_json):
    dataset = load_json(tmp_path, "\ufeff" + json.dumps(coco_json))
    assert len(dataset) == 3


def test_top_level_must_be_an_object(tmp_path):
    with pytest.raises(ValueError, match="top level must be an object: found a list"):
        load_json(tmp_path, [])


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_lists_are_named(tmp_path, coco_json, key):
    del coco_json[key]
    with pytest.raises(ValueError, match=f"missing list at the top level: '{key}'"):
        load_json(tmp_path, coco_json)


@pytest.mark.parametrize("key", ["images", "categories"])
def test_empty_lists_are_named(tmp_path, coco_json, key):
    coco_json[key] = []
    with pytest.raises(ValueError, match=f"empty list: '{key}'"):
        load_json(tmp_path, coco_json)


STRUCTURE = [
    ("images", {"width": None}, r"width is missing or not a positive integer: image 7 \(None\)"),
    ("images", {"height": 0}, r"height is missing or not a positive integer: image 7 \(0\)"),
    ("images", {"height": 2.5}, "height is missing or not a positive integer: image 7"),
    ("images", {"width": math.inf}, "width is missing or not a positive integer: image 7"),
    ("images", {"id": "7"}, r"image id is not an integer: entry 0 \('7'\)"),
    ("images", {"id": True}, "image id is not an integer: entry 0"),
    ("images", {"id": 9}, "image id is used twice: 9"),
    ("images", {"file_name": ""}, "file_name is missing: image 7"),
    ("images", {"file_name": "../secret.png"}, "file_name leaves the image folder: image 7"),
    ("images", {"file_name": "sub/../../x.png"}, "file_name leaves the image folder: image 7"),
    ("images", {"file_name": "..\\x.png"}, "file_name leaves the image folder: image 7"),
    ("images", {"file_name": "/etc/passwd"}, r"file_name leaves the image folder: image 7 \('/etc/passwd'\)"),
    ("images", {"file_name": "C:\\x.png"}, "file_name leaves the image folder: image 7"),
    ("categories", {"id": "x"}, "category id is not an integer: entry 0"),
    ("categories", {"id": 3}, "category id is used twice: 3"),
    ("categories", {"name": None}, "name is missing: category 90"),
    ("categories", {"name": "car"}, r"category name is used twice: category 3 \('car'\)"),
    ("annotations", {"id": 5}, "annotation id is used twice: 5"),
    ("annotations", {"id": None}, "annotation id is not an integer: entry 0"),
    ("annotations", {"image_id": 8}, r"unknown image_id: annotation 0 \(8\)"),
    ("annotations", {"image_id": [7]}, "unknown image_id: annotation 0"),
    ("annotations", {"category_id": 1}, r"unknown category_id: annotation 0 \(1\)"),
    ("annotations", {"bbox": None}, r"bbox is not a list of four numbers: annotation 0 \(None\)"),
    ("annotations", {"bbox": [1, 2, 3]}, "bbox is not a list of four numbers: annotation 0"),
    ("annotations", {"bbox": [1, 2, "3", 4]}, "bbox is not a list of four numbers: annotation 0"),
    ("annotations", {"iscrowd": 2}, "iscrowd is neither 0 nor 1: annotation 0"),
]


@pytest.mark.parametrize(("key", "change", "message"), STRUCTURE)
def test_structural_errors_are_named(tmp_path, coco_json, key, change, message):
    coco_json[key][0].update(change)
    with pytest.raises(ValueError, match=message):
        load_json(tmp_path, coco_json)


def test_one_report_has_all_problems(tmp_path, coco_json):
    coco_json["images"][0]["width"] = None
    coco_json["images"][1]["id"] = "9"
    coco_json["annotations"][0]["category_id"] = 1
    with pytest.raises(ValueError, match="4 problems in the annotations") as error:
        load_json(tmp_path, coco_json)
    for part in ("image 7", "entry 1 ('9')", "unknown category_id", "unknown image_id: annotation 6 (9)"):
        assert part in str(error.value)


def test_a_report_of_thousands_stays_short(tmp_path, coco_json):
    coco_json["annotations"] = [
        {"id": index, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]} for index in range(5000)
    ]
    with pytest.raises(ValueError, match=r"(?s)5000 problems.*and 4980 more") as error:
        load_json(tmp_path, coco_json)
    assert len(str(error.value)) < 1500


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["images", "annotations", "categories"]),
    entry=st.integers(0, 2),
    key=st.sampled_from(["id", "image_id", "category_id", "bbox", "iscrowd", "area", "width", "height", "file_name"]),
    value=JSON_VALUES | st.lists(st.integers() | st.floats(), min_size=4, max_size=4),
)
def test_any_value_anywhere_loads_or_is_reported(tmp_path, coco_json, kind, entry, key, value):
    content = copy.deepcopy(coco_json)
    content[kind][entry][key] = value
    try:
        dataset = load_json(tmp_path, content)
    except ValueError as error:
        if "problem" not in str(error):
            raise
        return
    for record in dataset:
        for item in record["annotations"]:
            assert all(math.isfinite(number) for number in (*item["bbox"], item["area"]))
            assert min(item["bbox"][2:]) > 0


@settings(max_examples=100, deadline=None)
@given(JSON_VALUES)
def test_any_json_is_checked_without_a_crash(value):
    with pytest.raises(ValueError, match="problem"):
        find_problems(value, "x.json").raise_if_any()


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("categories", {"name": 5}, r"name is no text: category 90 \(5\)"),
        ("images", {"file_name": 5}, r"file_name is no text: image 7 \(5\)"),
        ("images", {"file_name": "a\0.png"}, "file_name has a null character: image 7"),
        ("annotations", {"image_id": 7.0}, r"image_id is not an integer: annotation 0 \(7.0\)"),
        ("annotations", {"category_id": "90"}, r"category_id is not an integer: annotation 0 \('90'\)"),
        ("annotations", {"category_id": "dog"}, r"unknown category_id: annotation 0 \('dog'\)"),
    ],
)
def test_messages_are_true(tmp_path, coco_json, key, change, message):
    coco_json[key][0].update(change)
    with pytest.raises(ValueError, match=message):
        load_json(tmp_path, coco_json)


def test_references_to_ids_that_are_texts_are_not_unknown(tmp_path, coco_json):
    coco_json["images"][0]["id"] = coco_json["annotations"][0]["image_id"] = "seven"
    with pytest.raises(ValueError, match=r"image_id is not an integer: annotation 0 \('seven'\)"):
        load_json(tmp_path, coco_json)


def test_a_null_list_is_not_a_missing_one(tmp_path, coco_json):
    coco_json["annotations"] = None
    with pytest.raises(ValueError, match="no list at the top level: 'annotations' is NoneType"):
        load_json(tmp_path, coco_json)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_every_unicode_encoding_is_read(tmp_path, coco_json, encoding):
    coco_json["categories"][0]["name"] = "Käfer"
    path = tmp_path / "x.json"
    path.write_bytes(json.dumps(coco_json, ensure_ascii=False).encode(encoding))
    assert "Käfer" in class_names(load_coco(str(path), str(tmp_path), check_files=False))


def test_another_encoding_is_named(tmp_path, coco_json):
    coco_json["categories"][0]["name"] = "Käfer"
    path = tmp_path / "x.json"
    path.write_bytes(json.dumps(coco_json, ensure_ascii=False).encode("cp1252"))
    with pytest.raises(ValueError, match=r"x\.json is not in UTF-8: byte 0xe4 at position \d+.*save the file as UTF-8"):
        load_coco(str(path), str(tmp_path))


@pytest.mark.parametrize(
    ("count", "outside", "stops"), [(20, 19, True), (20, 11, True), (20, 10, False), (9, 9, False)]
)
def test_most_boxes_outside_of_their_images_are_a_fault_of_the_file(count, outside, stops):
    """As of coordinates from 0 to 1000 in images of 200 pixels."""
    boxes = [[600 + 5 * index, 500, 90, 80] if index < outside else [10, 20, 30, 40 + index] for index in range(count)]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 200}],
        "annotations": [
            {"id": index, "image_id": 1, "category_id": 1, "bbox": box} for index, box in enumerate(boxes, 1)
        ],
        "categories": [{"id": 1, "name": "a"}],
    }
    found = find_problems(content, "x.json").kinds
    assert ("most boxes lie outside of their images or reach beyond them" in found) is stops
    assert not find_problems(content, "x.json", check_boxes=False).kinds


def test_what_is_missing_is_not_called_unknown(coco_json):
    coco_json["annotations"][0]["category_id"] = None
    del coco_json["annotations"][1]["image_id"]
    coco_json["categories"].append("cat")
    found = find_problems(coco_json, "x.json").kinds
    assert found["category_id is missing"] == ["annotation 0 (None)"]
    assert found["image_id is missing"] == ["annotation 5 (None)"]
    assert found["category is no object with an id"] == ["entry 3 ('cat')"]
