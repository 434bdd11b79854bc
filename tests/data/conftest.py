import json

import numpy as np
import pytest
from PIL import Image

from querydet.data import columns


@pytest.fixture
def coco_json():
    """A small correct COCO json: ids with gaps, a crowd region, an image without objects."""
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 9, "file_name": "b.png", "width": 20, "height": 50},
            {"id": 12, "file_name": "c.png", "width": 32, "height": 32},
        ],
        "annotations": [
            {"id": 0, "image_id": 7, "category_id": 90, "bbox": [1, 2, 10, 20], "area": 123.0, "iscrowd": 0},
            {"id": 5, "image_id": 7, "category_id": 3, "bbox": [5, 5, 6, 7], "area": 42.0, "iscrowd": 1},
            {"id": 6, "image_id": 9, "category_id": 18, "bbox": [0.5, 1.5, 8, 9]},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}, {"id": 18, "name": "dog"}],
    }


@pytest.fixture
def write_coco(tmp_path):
    """Writes a COCO json and its images; returns both paths."""

    def write(content, name="train"):
        images = tmp_path / f"{name}_images"
        images.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        for image in content["images"]:
            pixels = rng.integers(0, 255, (image["height"], image["width"], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / image["file_name"])
        annotations = tmp_path / f"{name}.json"
        annotations.write_text(json.dumps(content))
        return str(annotations), str(images)

    return write


@pytest.fixture
def storage(request, monkeypatch):
    """Where records are kept: "memory" or "columns"; see tests/data/storages.py."""
    if request.param == "columns":
        monkeypatch.setattr(columns, "LEAST_BYTES", 0)
    return request.param
