"""Detections of a data set as a file in COCO's results format, the one that its servers take."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from querydet.evaluation.image_detections import ImageDetections

RESULTS_FILE = "coco_instances_results.json"  # Detectron2's name


def write_detections(
    folder: str,
    detections: Mapping[Any, ImageDetections],
    category_ids: Sequence[int],
    absent: Collection[int] = (),
) -> str:
    """Write detections, and return the path of the file.

    Args:
        folder: of the file; made if it does not exist.
        detections: by image id; those with masks get a `segmentation` as run lengths beside the `bbox`.
        category_ids: id in the json by class index.
        absent: class indices that the json has no category for; their detections are left out.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, RESULTS_FILE)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(result_entries(detections, category_ids, absent), file)
    return path


def result_entries(
    detections: Mapping[Any, ImageDetections], category_ids: Sequence[int], absent: Collection[int] = ()
) -> list[dict[str, Any]]:
    """Return detections as entries of a results file; arguments as for `write_detections`."""
    entries = []
    for image_id, image in detections.items():
        masks = image.masks if image.masks is not None else [None] * len(image.rows)
        for (*box, score, label), mask in zip(image.rows.tolist(), masks, strict=True):
            if int(label) not in absent:
                entry = {"image_id": image_id, "category_id": category_ids[int(label)], "bbox": box, "score": score}
                entries.append(entry if mask is None else {**entry, "segmentation": mask})
    return entries
