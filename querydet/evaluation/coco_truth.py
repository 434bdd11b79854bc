"""The ground truth of COCO's evaluation: the loaded data set, with its repaired boxes, as COCO's json."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode
from pycocotools.coco import COCO

from querydet.data.catalog import DetectionDataset, class_names
from querydet.data.mask_targets import HAS_MASKS
from querydet.data.masks import to_run_lengths
from querydet.evaluation.coco_backend import CocoBackend, Curves, coco_api
from querydet.utils.run_lengths import RunLengths


class CocoTruth:
    """The ground truth of a data set with ids that every backend accepts.

    Images and classes are numbered from 1, images in the order of their ids, so that ties of scores are broken as with
    the original ids, whatever these are.

    Args:
        dataset: the loaded data set.

    Raises:
        ValueError: some annotations have masks, others have none.
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
        self._dataset = dataset
        self.has_masks = has_masks(dataset)

    @functools.cached_property
    def masks(self) -> dict[Any, list[RunLengths]]:
        """The masks of the annotations by image id, as run lengths, computed when first needed."""
        return {record["image_id"]: annotation_masks(record) for record in self._dataset}

    @functools.cached_property
    def content_with_masks(self) -> dict[str, Any]:
        """The content with run lengths as the `segmentation` of every annotation, likewise."""
        masks = itertools.chain.from_iterable(self.masks.values())
        annotations = [
            {**item, "segmentation": mask} for item, mask in zip(self.content["annotations"], masks, strict=True)
        ]
        return {**self.content, "annotations": annotations}

    def number(self, image_id: Any) -> int:
        """Return the number of an image in `content`."""
        return self._numbers[image_id]

    def evaluate(
        self,
        backend: CocoBackend,
        rows: Mapping[Any, np.ndarray],
        max_dets: Sequence[int],
        img_ids: Sequence[int] | None = None,
        *,
        masks: Mapping[Any, Sequence[RunLengths]] | None = None,
        federated: bool = False,
    ) -> Curves:
        """Compute precision and recall of detections.

        Args:
            backend: computes them.
            rows: detections by image id, see `image_detections.detection_rows`.
            max_dets: limits on the number of detections, see `CocoBackend.evaluate`.
            img_ids: images to evaluate on; None: all.
            masks: of the detections by image id, if masks are compared and not boxes.
            federated: apply the rules of LVIS.
        """
        parts, joined_masks = [np.zeros((0, 7))], list[RunLengths]()
        for image_id in self._numbers:
            detections = rows.get(image_id)
            if detections is not None and len(detections):
                number = np.full((len(detections), 1), float(self._numbers[image_id]))
                parts.append(np.concatenate([number, detections[:, :5], detections[:, 5:] + 1], axis=1))
                joined_masks += [] if masks is None else masks[image_id]
        images = None if img_ids is None else [self._numbers[image_id] for image_id in img_ids]
        return backend.evaluate(
            self.content if masks is None else self.content_with_masks,
            np.concatenate(parts),
            max_dets,
            images,
            federated=federated,
            masks=None if masks is None else joined_masks,
        )


def has_masks(dataset: DetectionDataset) -> bool:
    """Return whether the annotations of a data set have masks, as after `load_coco(..., masks=True)`.

    Raises:
        ValueError: some have, and others have none.
    """
    items = [(record["image_id"], item) for record in dataset for item in record.get("annotations", ())]
    lacking = [image_id for image_id, item in items if "segmentation" not in item]
    if len(lacking) == len(items):
        return any(record.get(HAS_MASKS, False) for record in dataset) and not items
    if lacking:
        raise ValueError(
            f"data set '{dataset.name}' has annotations with a segmentation and others without, such as in image "
            f"{lacking[0]}: load it with masks=True, which gives all of them one, or without masks"
        )
    return True


def annotation_masks(record: Mapping[str, Any]) -> list[RunLengths]:
    """Return the masks of the annotations of an image, in their order, as run lengths.

    Raises:
        ValueError: a segmentation cannot be read, or is of another size than the image.
    """
    masks = []
    for index, item in enumerate(record["annotations"]):
        try:
            masks.append(to_run_lengths(item["segmentation"], record["height"], record["width"]))
        except ValueError as error:
            raise ValueError(f"image {record['image_id']}, annotation {item.get('id', index)}: {error}") from error
    return masks


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
