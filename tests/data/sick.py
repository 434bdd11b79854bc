"""A data set with something wrong of every kind."""

import json

import numpy as np
from PIL import Image


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


def make_sick(folder):
    """A data set with one of everything: the paths of its annotations and its images."""
    save(folder / "good.png")
    save(folder / "wide.png", width=50, seed=1)
    save(folder / "cut.jpg", seed=2)
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-300])
    save(folder / "empty.png", seed=3)
    (folder / "copy.png").write_bytes((folder / "good.png").read_bytes())
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "turned.jpg", width=30, height=40, seed=4, exif=exif)
    names = ["good.png", "wide.png", "cut.jpg", "empty.png", "copy.png", "turned.jpg", "gone.png", "good.png"]
    box = [5.0, 5.0, 10.0, 10.0]
    boxes = [(image, 3, box, {}) for image in (0, 1, 2, 4, 5, 6, 7)]
    boxes += [(0, 3, bad, {}) for bad in ([30, 20, 20, 20], [90, 90, 5, 5], [5, 5, 0, 3], [5, 5, float("nan"), 3])]
    boxes += [(0, 3, box, {}), (1, 3, [0, 0, 40, 30], {"iscrowd": 1})]
    return write(folder, [(name, 40, 30) for name in names], boxes), str(folder)
