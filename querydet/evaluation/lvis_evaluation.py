"""LVIS AP, of boxes and masks: of a federated data set, whose images are annotated exhaustively for some classes only.

Gupta et al. (arXiv 1908.03195, section 3): a detection counts only if its class is known to be in the image, or to be
absent from it (`neg_category_ids`), and an unmatched detection is no error if its class is not annotated exhaustively
(`not_exhaustive_category_ids`). The 300 highest scoring detections of an image count, over all classes. Besides the AP
of COCO, it reports the AP of rare, common and frequent classes.

Computed by hotcoco: the official `lvis` package does not run with numpy 1.24 or newer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog

from querydet.data.catalog import DetectionDataset
from querydet.data.json_file import read_json
from querydet.evaluation.coco_backend import Curves, mean_known
from querydet.evaluation.coco_evaluation import CocoEvaluator
from querydet.evaluation.coco_truth import category_ids
from querydet.utils.run_lengths import RunLengths

MAX_DETECTIONS = 300  # LVIS: per image
FREQUENCIES = ("r", "c", "f")
FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")


class LvisEvaluator(CocoEvaluator):
    """`AP AP50 AP75 APs APm APl APr APc APf AR300 ARs ARm ARl` and the AP of every class, in percent.

    The results are those of boxes and, under the same conditions as with `CocoEvaluator`, of masks.

    Args:
        dataset: the loaded data set.
        annotations: path of LVIS's json, with the annotated classes of each image and the frequency of each class;
            None: the file that the data set was loaded from.
        output_dir: see `CocoEvaluator`.
        max_dets_per_image: number of highest scoring detections that count, per image.
        distributed: see `CocoEvaluator`.
        on_nonfinite: see `CocoEvaluator`.

    Raises:
        ValueError: the json lacks fields of LVIS.
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
        try:
            self._frequency = self._add_annotated_classes(read_json(path), path, category_ids(dataset))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not an LVIS json of these classes: {error!r}") from error

    def _add_annotated_classes(self, content: dict[str, Any], path: str, ids: Sequence[int]) -> list[str]:
        """Add the annotated classes of each image to the ground truth, and return the frequency of every class."""
        number = {identifier: index + 1 for index, identifier in enumerate(ids)}
        images = {image["id"]: image for image in content["images"]}
        categories = {category["id"]: category.get("frequency") for category in content["categories"]}
        truth = {image["id"]: image for image in self._truth.content["images"]}
        for image_id in self._records:
            lacking = [key for key in FEDERATED if key not in images.get(image_id, {})]
            if lacking:
                raise ValueError(f"{path}: image {image_id} has no {', '.join(lacking)}: this is not an LVIS json")
            for key in FEDERATED:
                truth[self._truth.number(image_id)][key] = [number[identifier] for identifier in images[image_id][key]]
        frequency = [categories.get(identifier) for identifier in ids]
        if not all(value in FREQUENCIES for value in frequency):
            raise ValueError(f"{path}: every category of LVIS has a frequency, one of {FREQUENCIES}")
        return [str(value) for value in frequency]

    def curves(
        self,
        rows: Mapping[Any, np.ndarray],
        img_ids: Sequence[int] | None = None,
        masks: Mapping[Any, Sequence[RunLengths]] | None = None,
    ) -> Curves:
        """Compute precision and recall of the best detections of every image."""
        best = {
            image_id: np.argsort(-detections[:, 4], kind="stable")[: self.max_dets[-1]]
            for image_id, detections in rows.items()
        }
        best_rows = {image_id: rows[image_id][indices] for image_id, indices in best.items()}
        if masks is not None:
            masks = {image_id: [values[index] for index in best[image_id]] for image_id, values in masks.items()}
        return self._truth.evaluate(self.backend, best_rows, self.max_dets, img_ids, masks=masks, federated=True)

    def numbers(self, curves: Curves) -> dict[str, float]:
        """Return COCO's metrics, and the AP of the classes of each frequency."""
        metrics = curves.twelve()
        for name in FREQUENCIES:
            classes = [index for index, frequency in enumerate(self._frequency) if frequency == name]
            metrics[f"AP{name}"] = mean_known(curves.precision[:, :, classes, 0, -1])
        return metrics
