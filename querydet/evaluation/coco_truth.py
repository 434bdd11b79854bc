"""The ground truth of COCO's evaluation: the loaded data set, with its repaired boxes, as COCO's json."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode
from pycocotools.coco import COCO

from querydet.data.catalog import DetectionDataset, class_names
from querydet.evaluation.coco_backend import CocoBackend, Curves, coco_api


class CocoTruth:
    """The ground truth of a data set with ids that every backend accepts.

    Images and classes are numbered from 1, images in the order of their ids, so that ties of scores are broken as with
    the original ids, whatever these are.

    Args:
        dataset: the loaded data set.
    """

    def __init__(self, dataset: DetectionDataset) -> None:
        ids = sorted(record["image_id"] for record in dataset)
        self._numbers = {image_id: number for number, image_id in enumerate(ids, start=1)}
        content = _content(dataset, list(range(1, len(class_names(dataset)) + 1)))
        for image in content["images"]:
            image["id"] = self._numbers[image["id"]]
        for annotation in content["annotations"]:
            annotation["image_id"] = self._numbers[annotation["image_id"]]
        self.content = content

    def number(self, image_id: Any) -> int:
        """Return the number of an image in `content`."""
        return self._numbers[image_id]

    def evaluate(
        self,
        backend: CocoBackend,
        rows: dict[Any, np.ndarray],
        max_dets: Sequence[int],
        img_ids: Sequence[int] | None = None,
        **options: Any,
    ) -> Curves:
        """Compute precision and recall of detections (see `detection_rows`) by image id."""
        parts = [np.zeros((0, 7))]
        for image_id in self._numbers:
            detections = rows.get(image_id)
            if detections is not None and len(detections):
                number = np.full((len(detections), 1), float(self._numbers[image_id]))
                parts.append(np.concatenate([number, detections[:, :5], detections[:, 5:] + 1], axis=1))
        images = None if img_ids is None else [self._numbers[image_id] for image_id in img_ids]
        return backend.evaluate(self.content, np.concatenate(parts), max_dets, images, **options)


def ground_truth(dataset: DetectionDataset) -> COCO:
    """Convert a loaded data set to pycocotools' `COCO`, with the ids of its json."""
    return coco_api(_content(dataset, category_ids(dataset)))


def _content(dataset: DetectionDataset, id_of_class: Sequence[int]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for record in dataset:
        for item in record["annotations"]:
            box = BoxMode.convert(list(item["bbox"]), item["bbox_mode"], BoxMode.XYWH_ABS)
            annotations.append(
                {
                    "id": len(annotations) + 1,  # 0 would never count as matched
                    "image_id": record["image_id"],
                    "category_id": id_of_class[item["category_id"]],
                    "bbox": list(box),
                    "area": item.get("area", box[2] * box[3]),
                    "iscrowd": int(item.get("iscrowd", 0)),
                }
            )
    images = [
        {
            "id": record["image_id"],
            "file_name": record["file_name"],
            "width": record["width"],
            "height": record["height"],
        }
        for record in dataset
    ]
    names = class_names(dataset)
    categories = [{"id": identifier, "name": name} for identifier, name in zip(id_of_class, names, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories}


def category_ids(dataset: DetectionDataset) -> list[int]:
    """Return the json's category id of every contiguous class index; the index itself if none is registered."""
    contiguous = MetadataCatalog.get(dataset.name).get("thing_dataset_id_to_contiguous_id")
    if not contiguous:
        return list(range(len(class_names(dataset))))
    return [identifier for identifier, _ in sorted(contiguous.items(), key=_second)]


def _second(pair: tuple[int, int]) -> int:
    return pair[1]
