"""Files of other formats are named in the error, and whatever else is described by what it holds."""

import json

import pytest
from hypothesis import given, settings

from querydet.data import load_coco
from querydet.data.foreign_formats import describe
from tests.data.test_coco_checks import JSON_VALUES

FILES = {
    "detections": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
    "Detectron2": [{"file_name": "a.jpg", "height": 3, "width": 3, "image_id": 1, "annotations": []}],
    "MMDetection": [{"filename": "a.jpg", "width": 3, "height": 3, "ann": {"bboxes": []}}],
    "Label Studio": [{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}],
    "Create ML": [{"image": "a.jpg", "annotations": []}],
    "labelme": {"version": "5", "shapes": [], "imagePath": "a.jpg", "imageData": None},
    "VGG Image Annotator": {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": []}},
    "a project of VGG": {"_via_settings": {}, "_via_img_metadata": {}},
    "several COCO files": {"train": {"images": [], "annotations": [], "categories": []}},
    "annotations without images": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "id": 1}],
    "a list of 1, each with 'a'": [{"a": 1}],
    "a list of 0": [],
    "found 'x'": {"x": 3},
    "found dict": {},
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_format_is_named(tmp_path, name):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(FILES[name]))
    with pytest.raises(ValueError, match=f"not a COCO json.*{name}"):
        load_coco(str(path), str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"  \n"])
def test_an_empty_file_is_called_empty(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.json is not valid json: it is empty"):
        load_coco(str(path), str(tmp_path))


@settings(max_examples=100, deadline=None)
@given(JSON_VALUES)
def test_any_value_is_described(value):
    assert describe(value).startswith("found ")
