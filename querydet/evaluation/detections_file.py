"""Detections of a data set as a file in COCO's results format, the one that its servers take."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

RESULTS_FILE = "coco_instances_results.json"  # Detectron2's name


def write_detections(
    folder: str, rows: Mapping[Any, np.ndarray], category_ids: Sequence[int], absent: Collection[int] = ()
) -> str:
    """Write detections, and return the path of the file.

    Args:
        folder: of the file; made if it does not exist.
        rows: detections by image id, (n, 6) float64: x, y, w, h in pixels, score, class index.
        category_ids: id in the json by class index.
        absent: class indices that the json has no category for; their detections are left out.
    """
    os.makedirs(folder, exist_ok=True)
    entries = [
        {"image_id": image_id, "category_id": category_ids[int(label)], "bbox": box, "score": score}
        for image_id, detections in rows.items()
        for *box, score, label in detections.tolist()
        if int(label) not in absent
    ]
    path = os.path.join(folder, RESULTS_FILE)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(entries, file)
    return path
