"""Data sets of boxes with outlines, right and wrong ones."""

import copy
import random

WIDTH, HEIGHT = 160, 120


def outlined(count=24, seed=0, per_image=3, sizes=((WIDTH, HEIGHT),), smallest=20, largest=50):
    """A right json: polygons of four or eight corners, and their boxes."""
    rng = random.Random(seed)
    images, annotations = [], []
    for index in range(count):
        if index % per_image == 0:
            width, height = sizes[len(images) % len(sizes)]
            number = len(images) + 1
            images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        width, height = images[-1]["width"], images[-1]["height"]
        w, h = (rng.randint(min(smallest, side), min(largest, side)) for side in (width, height))
        x, y = rng.randint(0, width - w), rng.randint(0, height - h)
        if index % 2:
            points = [x, y, x + w, y, x + w, y + h, x, y + h]
        else:
            points = [x + w // 2, y, x + w, y + h // 2, x + w // 2, y + h, x, y + h // 2]
        annotations.append(
            {"id": index, "image_id": len(images), "category_id": 1 + index % 2, "bbox": [x, y, w, h]}
            | {"area": w * h, "segmentation": [points]}
        )
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def with_boxes(content, change):
    """A copy in which `change(x, y, w, h, width, height)` gives the boxes."""
    content = copy.deepcopy(content)
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    for entry in content["annotations"]:
        entry["bbox"] = list(change(*entry["bbox"], *sizes[entry["image_id"]]))
    return content


def with_outlines(content, change):
    """A copy in which `change(x, y, width, height)` gives the points of the outlines."""
    content = copy.deepcopy(content)
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    for entry in content["annotations"]:
        (points,) = entry["segmentation"]
        pairs = zip(points[::2], points[1::2], strict=True)
        entry["segmentation"] = [[v for x, y in pairs for v in change(x, y, *sizes[entry["image_id"]])]]
    return content
