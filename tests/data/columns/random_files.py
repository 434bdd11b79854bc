"""Random COCO files, right ones and wrong ones, and what both ways of keeping records make of them."""

import json
import math
import random

import numpy as np

from querydet.data.coco_records import read_records
from querydet.data.columns import read_columns

NAMES = ("a.png", "b c.jpg", "ä/ö.png", "日本.jpg", "sub/d.png", "e\U0001f600.png", 'quo"te\\.png', "\ud800.png")
AREAS = (1, 2.5, 10**30, 10**400, -1, 0, "17.5", "x", None, math.nan, math.inf, True, [], 2**53 + 1)
ODD_BOXES = [
    *[(-0.5, 0, 9, 9), (-9, -9, 30, 30), (0, 0, 0, 1), (math.nan, 0, 1, 1), (1e9, 0, 4, 4), (-5, 1, 2, 2)],
    *[(10**400, 1, 2, 2), (1e17, 0, 1e-3, 4), (0.5, 0.5, 1e-18, 1)],
]


def random_content(seed, masks=False, lists=()):
    """A right json, with what exporters do to boxes, areas and flags."""
    rng = random.Random(seed)
    ids = rng.sample(range(-50, 2000), rng.randint(1, 8)) + rng.sample([2**62, -(2**63), 2**53 + 1], rng.randint(0, 2))
    images = [
        {"id": number, "file_name": f"{index}{rng.choice(NAMES)}", "width": rng.randint(1, 90), "height": 60.0}
        for index, number in enumerate(ids)
    ]
    category_ids = rng.sample(range(-5, 400), rng.randint(2, 5))
    for image in images:
        image |= {key: rng.sample(category_ids, rng.randint(0, 2)) for key in lists}
    categories = [{"id": number, "name": f"klasse {number} ü"} for number in category_ids]
    annotations = [_annotation(rng, number, images, category_ids, masks) for number in range(rng.randint(0, 30))]
    if rng.random() < 0.5:
        annotations.sort(key=lambda entry: ids.index(entry["image_id"]))
    others = {"info": {"version": 1.5, "text": "x\\u00e4 " * 20}, "licenses": [{"id": 1}], "n": -12.5e-3, "none": None}
    keys = [*others, "images", "annotations", "categories"]
    rng.shuffle(keys)
    content = {**others, "images": images, "annotations": annotations, "categories": categories}
    return {key: content[key] for key in keys}


def _annotation(rng, number, images, category_ids, masks):
    image = rng.choice(images)
    w, h = rng.uniform(1, 30), rng.randint(1, 30)
    x, y = rng.uniform(0, max(1, image["width"] - w)), rng.uniform(0, 30)
    if rng.random() < 0.2:
        x, y, w, h = rng.choice([*ODD_BOXES, (image["width"] - 1, 0, 2.5, 5)])
    entry = {
        "id": 3 * number - 7,
        "image_id": image["id"],
        "category_id": rng.choice(category_ids),
        "bbox": [x, y, w, h],
    }
    for key, values in {"area": AREAS, "iscrowd": (0, 0, 1, True, 1.0), "ignore": (1, "yes", 0, "no", None)}.items():
        if rng.random() < (0.2 if key == "ignore" else 0.7):
            entry[key] = rng.choice(values)
    if masks:
        entry["segmentation"] = _outline(rng, image, entry["bbox"])
        if rng.random() < 0.1:
            entry["bbox"] = rng.choice([None, [], [1, 1, 0, 0]])
    return entry


def _outline(rng, image, box):
    height, width = int(image["height"]), image["width"]
    x, y, w, h = [float(value) if abs(value) < 1e6 else 1.0 for value in box] if box[0] == box[0] else [1.0] * 4
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    start = rng.randint(0, height * width - 1)
    return rng.choice(
        [
            [polygon],
            [polygon, [x + 1, y, x + 2, y, x, y + 2]],
            polygon,
            {"size": [height, width], "counts": [start, 1, height * width - start - 1]},
            [polygon, [1, 2]],
            [],
        ]
    )


def outcome(read, path, images, rules):
    """What a way of reading makes of a file: records, classes and notes, or its error."""
    try:
        loaded = read(path, images, rules)
    except ValueError as error:
        return str(error)
    return list(loaded.records), loaded.classes, loaded.annotated, loaded.notes


def both(path, images, rules):
    """The outcomes of a file in memory and in columns."""
    return outcome(read_records, str(path), images, rules), outcome(read_columns, str(path), images, rules)


def assert_same(one, other, place="records"):
    """Compares values and types at every depth."""
    assert type(one) is type(other), place
    if isinstance(one, dict):
        assert list(one) == list(other), place
        for key, value in one.items():
            assert_same(value, other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{place}[{index}]")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.tolist()) == (other.dtype, other.tolist()), place
    else:
        assert one == other, place


def write(path, content, encoding="utf-8"):
    """Writes a json, with letters as they are where the encoding has them."""
    text = json.dumps(content, ensure_ascii=encoding == "ascii")
    path.write_bytes(text.encode(encoding, errors="surrogatepass" if encoding != "ascii" else "strict"))
    return str(path)
