"""Small files in the form of Objects365 v2, with images to train on."""

import json

import numpy as np
from PIL import Image

SIDE = 48
CATEGORIES = [{"id": identifier, "name": f"Thing {identifier}"} for identifier in range(1, 366)]


def file_name(number, version="v1", patch=0):
    """The name of an image in the json."""
    return f"images/{version}/patch{patch}/objects365_{version}_{number:08d}.jpg"


def make_content(numbers, first_annotation=1, patch=0, objects=3):
    """A json of some images; every image has some objects."""
    rng = np.random.default_rng(numbers[0])
    images = [
        {
            "id": number,
            "height": SIDE,
            "width": SIDE,
            "license": 5,
            "file_name": file_name(number, patch=patch),
            "url": "",
        }
        for number in numbers
    ]
    annotations = [
        {
            **{"id": first_annotation + index, "image_id": number, "category_id": int(rng.integers(1, 366))},
            **{"iscrowd": 0, "isfake": index % 2, "isreflected": 0, "area": 100.0},
            "bbox": [float(value) for value in (*rng.uniform(0, 20, 2), *rng.uniform(8, 20, 2))],
        }
        for index, number in enumerate(number for number in numbers for _ in range(objects))
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES, "licenses": []}


def write(folder, content, split="train", stripped=True):
    """Write a json and its images, without `images/v1` where `stripped`; returns both paths."""
    root = folder / split
    rng = np.random.default_rng(content["images"][0]["id"])
    for image in content["images"]:
        name = image["file_name"].removeprefix("images/v1/").removeprefix("images/v2/")
        path = root / (name if stripped else image["file_name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    annotations = folder / f"zhiyuan_objv2_{split}.json"
    annotations.write_text(json.dumps(content))
    return str(annotations), str(root)
