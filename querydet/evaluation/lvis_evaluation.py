"""LVIS box AP: a federated data set, in which an image is annotated exhaustively for some classes only.

Gupta et al. (arXiv 1908.03195, section 3): a detection counts only if its class is known to be in the image, or to be
absent from it (``neg_category_ids``), and one that finds nothing is no error where the class is not annotated
exhaustively (``not_exhaustive_category_ids``). The 300 highest scoring detections of an image count, of all classes
together. Besides AP as in COCO, it is reported for rare, common and frequent classes.

Computed by hotcoco: the official ``lvis`` package does not run with numpy 1.24 or newer.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog

from querydet.data.catalog import DetectionDataset
from querydet.evaluation.coco_backend import Curves, mean_known
from querydet.evaluation.coco_evaluation import CocoEvaluator, category_ids

MAX_DETECTIONS = 300  # LVIS: of an image
FREQUENCIES = ("r", "c", "f")
FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")


class LvisEvaluator(CocoEvaluator):
    """``AP AP50 AP75 APs APm APl APr APc APf AR300 ARs ARm ARl`` and the AP of every class, in percent.

    Args:
        dataset: the loaded data set.
        annotations: LVIS's json, which says what is known of an image and how frequent a class is; None: the file that
            the data set was loaded from.
        output_dir, distributed, on_nonfinite: of `CocoEvaluator`.
        max_dets_per_image: highest scoring detections of an image that count.

    Raises:
        ValueError: the json lacks what makes it LVIS's.
        ImportError: hotcoco is not installed.
    """

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        annotations: str | None = None,
        output_dir: str | None = None,
        max_dets_per_image: int = MAX_DETECTIONS,
        distributed: bool = True,
        on_nonfinite: str = "drop",
    ) -> None:
        super().__init__(
            dataset=dataset,
            output_dir=output_dir,
            max_dets_per_image=max_dets_per_image,
            distributed=distributed,
            backend="hotcoco",
            on_nonfinite=on_nonfinite,
        )
        self.max_dets = (max_dets_per_image,)
        path = annotations or MetadataCatalog.get(dataset.name).json_file
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        self._frequency = self._know(content, path, category_ids(dataset))

    def _know(self, content: dict[str, Any], path: str, ids: Sequence[int]) -> list[str]:
        """Adds what is known of the images to the ground truth; returns the frequency of every class."""
        number = {identifier: index + 1 for index, identifier in enumerate(ids)}
        images = {image["id"]: image for image in content["images"]}
        categories = {category["id"]: category.get("frequency") for category in content["categories"]}
        truth = {image["id"]: image for image in self._truth.content["images"]}
        for image_id in self._records:
            lacking = [key for key in FEDERATED if key not in images.get(image_id, {})]
            if lacking:
                raise ValueError(f"{path}: image {image_id} has no {', '.join(lacking)}: this is not an LVIS json")
            for key in FEDERATED:
                truth[self._truth.number(image_id)][key] = [number[each] for each in images[image_id][key]]
        frequency = [categories.get(identifier) for identifier in ids]
        if not all(each in FREQUENCIES for each in frequency):
            raise ValueError(f"{path}: every category of LVIS has a frequency, one of {FREQUENCIES}")
        return [str(each) for each in frequency]

    def curves(self, rows: dict[Any, np.ndarray], img_ids: Sequence[int] | None = None) -> Curves:
        """The precision and recall of the best detections of every image."""
        best = {
            image_id: found[np.argsort(-found[:, 4], kind="stable")[: self.max_dets[-1]]]
            for image_id, found in rows.items()
        }
        return self._truth.evaluate(self.backend, best, self.max_dets, img_ids, federated=True)

    def numbers(self, curves: Curves) -> dict[str, float]:
        """COCO's numbers, and the AP of the classes of each frequency."""
        found = curves.twelve()
        for name in FREQUENCIES:
            classes = [index for index, each in enumerate(self._frequency) if each == name]
            found[f"AP{name}"] = mean_known(curves.precision[:, :, classes, 0, -1])
        return found
