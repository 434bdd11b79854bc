"""A COCO json of the detections on any number of images."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

from detectron2.structures import BoxMode, Instances

from querydet.utils.atomic import atomic_write
from querydet.utils.instance_masks import has_masks, run_lengths_of
from querydet.utils.run_lengths import mask_areas

IN_MEMORY = 2**24  # bytes of a list that are kept in memory; ours: those of about 100,000 boxes


class CocoWriter:
    """Collects detections and writes them as one COCO json: `images`, `categories` and scored `annotations`.

    The annotations have the entries of COCO's results format and of its annotation format, so that the file can be
    filtered, viewed or corrected with any COCO tool. Many of them are kept in temporary files, which nobody else sees.

    Args:
        class_names: by class index.
        category_ids: id in the json by class index.
        folder: of the temporary files; None: that of the system.
    """

    def __init__(self, class_names: Sequence[str], category_ids: Sequence[int], folder: str | None = None) -> None:
        self._category_ids = list(category_ids)
        self._categories = [
            {"id": identifier, "name": name} for identifier, name in zip(category_ids, class_names, strict=True)
        ]
        self._images = _Entries(folder)
        self._annotations = _Entries(folder)

    def add(self, file_name: str, instances: Instances) -> None:
        """Add the detections of one image: `pred_boxes` in its pixels, `scores`, `pred_classes`, and masks if any.

        With masks, annotations have a `segmentation` as run lengths, and their `area` is that of the mask.
        """
        height, width = instances.image_size
        image_id = len(self._images) + 1
        boxes = BoxMode.convert(instances.pred_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist()
        rows = zip(boxes, instances.scores.tolist(), instances.pred_classes.tolist(), strict=True)
        items: list[dict[str, Any]] = [
            {
                "id": len(self._annotations) + number,
                "image_id": image_id,
                "category_id": self._category_ids[label],
                "bbox": [round(value, 2) for value in box],
                "area": round(box[2] * box[3], 2),
                "iscrowd": 0,
                "score": round(score, 5),
            }
            for number, (box, score, label) in enumerate(rows, start=1)
        ]
        if has_masks(instances):
            masks = run_lengths_of(instances)
            for item, mask, area in zip(items, masks, mask_areas(masks), strict=True):
                item |= {"segmentation": mask, "area": area}
        self._annotations.add(items)
        self._images.add([{"id": image_id, "file_name": file_name, "width": width, "height": height}])

    def save(self, path: str) -> None:
        """Write the file, complete or not at all; its folder is created if needed."""
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with atomic_write(path) as file:
            for name, entries in (("images", self._images), ("annotations", self._annotations)):
                file.write(f'{"{" if name == "images" else ", "}"{name}": ['.encode())
                entries.copy_to(file)
                file.write(b"]")
            file.write(f', "categories": {json.dumps(self._categories)}}}'.encode())


class _Entries:
    """Items of a list in json, in memory or, if there are many, in a temporary file."""

    def __init__(self, folder: str | None) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder)  # noqa: SIM115 - it ends with its owner
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, items: Sequence[dict[str, Any]]) -> None:
        """Append items."""
        for item in items:
            self._file.write((", " if self._count else "").encode() + json.dumps(item).encode())
            self._count += 1

    def copy_to(self, file: Any) -> None:
        """Write the items, separated by commas, to a binary file."""
        self._file.seek(0)
        shutil.copyfileobj(self._file, file)
        self._file.seek(0, os.SEEK_END)
