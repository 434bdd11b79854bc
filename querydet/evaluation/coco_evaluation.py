"""COCO AP and AR of boxes and masks through a fast exact backend or the official pycocotools.

Differences to Detectron2's `COCOEvaluator`:

* The ground truth is the loaded data set itself, with its repaired boxes, and annotation ids start from 1 (pycocotools
  treats a match with annotation 0 as none).
* NaN and infinite boxes or scores are dropped and counted, or raise an error: pycocotools counts a NaN box as a match.
* Without predictions AP is 0, and a metric without ground truth is -1 as in COCO; Detectron2 has NaN for both.
* Detections have the size of their mask in the metrics of masks, as with Detectron2. pycocotools takes the box's.
* All twelve metrics of COCO are reported. The compiled `detectron2._C` is never used.
"""

import itertools
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import Instances
from detectron2.utils.logger import create_small_table
from tabulate import tabulate

from querydet.data.catalog import DetectionDataset, is_annotated
from querydet.evaluation.coco_backend import CocoBackend, Curves
from querydet.evaluation.coco_truth import CocoTruth, category_ids, ground_truth
from querydet.evaluation.detections_file import write_detections
from querydet.evaluation.image_detections import ImageDetections, detection_rows, masks_of_images
from querydet.evaluation.per_image import PerImageEvaluator, finite_detections
from querydet.utils.instance_masks import has_masks, run_lengths_of
from querydet.utils.run_lengths import RunLengths

logger = logging.getLogger(__name__)

MAX_DETECTIONS = 100  # COCO: detections per image and class
NONFINITE = ("drop", "raise")
BOXES, MASKS = "bbox", "segm"  # names of the results, COCO's


class CocoEvaluator(PerImageEvaluator):
    """COCO's twelve metrics and the AP of every class, in percent, and the number of `nonfinite_detections`.

    `AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl AP-<class>`; another limit on the detections replaces the
    100. With several processes the predictions of all ranks are gathered; rank 0 has the results.

    The results `bbox` are those of boxes. Where the data set was loaded with masks and the detector makes some, `segm`
    has the same metrics of the masks.

    Args:
        dataset: the loaded data set (`data.load_coco`), which is the ground truth.
        output_dir: folder for the detections in COCO json (`coco_instances_results.json`) and the results with the
            backend and its version (`coco_evaluation.json`); nothing is written if None. For images without
            annotations, as COCO's test-dev, the detections are all that there is: the metrics are `{}`.
        max_dets_per_image: number of highest scoring detections that count, per image and class.
        distributed: gather the predictions of all processes; False evaluates those of this process only.
        backend: `auto`, `hotcoco` or `pycocotools`, see `evaluation.coco_backend`.
        on_nonfinite: `drop` and count detections with a NaN or infinite box or score, or `raise` an error.

    Raises:
        ValueError: the data set has no images or no class names, or a setting is out of its range.
        ImportError: the backend is not installed.
    """

    needs_annotations = False

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        output_dir: str | None = None,
        max_dets_per_image: int = MAX_DETECTIONS,
        distributed: bool = True,
        backend: str = "auto",
        on_nonfinite: str = "drop",
    ) -> None:
        super().__init__(dataset=dataset, distributed=distributed)
        if not isinstance(max_dets_per_image, int) or max_dets_per_image < 1:
            raise ValueError(f"max_dets_per_image must be an integer of at least 1, got {max_dets_per_image!r}")
        if on_nonfinite not in NONFINITE:
            raise ValueError(f"on_nonfinite must be one of {NONFINITE}, got '{on_nonfinite}'")
        self.backend = CocoBackend(backend)
        self.max_dets = limits(max_dets_per_image)
        self._output_dir = output_dir
        self._on_nonfinite = on_nonfinite
        self._coco_api = ground_truth(dataset)
        self._category_ids = category_ids(dataset)
        self._absent = MetadataCatalog.get(dataset.name).get("absent_classes", ())
        self._annotated = is_annotated(dataset)
        self._truth = CocoTruth(dataset)
        self._warned_of_masks = False

    def measure(self, record: dict[str, Any], output: dict[str, Any]) -> ImageDetections:
        """Return the finite detections of an image.

        Args:
            record: the dataset dict of the image.
            output: its `instances` with `pred_boxes` (XYXY, pixels of the file's image), `scores` and `pred_classes`,
                and masks if the detector makes some, see `utils.instance_masks`.

        Raises:
            ValueError: the detections do not fit the image or the data set (see `per_image.check_detections`), or are
                not finite and `on_nonfinite` is "raise".
        """
        instances, dropped = self.detections(record, output)
        if dropped and self._on_nonfinite == "raise":
            raise ValueError(
                f"image {record['image_id']}: {dropped} of {dropped + len(instances)} detections have a NaN or "
                "infinite box or score; look at the model, or drop and count them with on_nonfinite='drop'"
            )
        return ImageDetections(detection_rows(instances), dropped, self._masks(record, output["instances"]))

    def _masks(self, record: dict[str, Any], instances: Instances) -> list[RunLengths] | None:
        """Return the masks of the finite detections; None if there are none, or no use for them."""
        if not has_masks(instances):
            return None
        if self._annotated and not self._truth.has_masks and not self._warned_of_masks:
            self._warned_of_masks = True
            logger.warning(
                "the detector makes masks, but data set '%s' was loaded without them: only its boxes are evaluated; "
                "dataloader.test.dataset.masks=True loads them",
                self._dataset_name,
            )
        if not self._truth.has_masks and not self._output_dir:
            return None
        try:
            masks = run_lengths_of(instances)
        except ValueError as error:
            raise ValueError(f"image {record['image_id']}: {error}") from error
        return list(itertools.compress(masks, finite_detections(instances).tolist()))

    def evaluate(self, img_ids: Sequence[int] | None = None) -> dict[str, dict[str, float]]:
        """Evaluate all processed images.

        Args:
            img_ids: ids of the images to evaluate on; None: all of the data set.

        Returns:
            `{"bbox": {metric: value}}` on rank 0, with `"segm"` beside it where masks are compared; `{}` on the others.

        Raises:
            ValueError: the data set does not have one of the ids, or some images have detections with masks and others
                without.
        """
        unknown = [] if img_ids is None else [image_id for image_id in img_ids if image_id not in self._records]
        if unknown:
            raise ValueError(f"img_ids has {unknown[:5]}, which are not in data set '{self._dataset_name}'")
        detections = self.gather()
        if detections is None:
            return {}
        return self._results(detections, img_ids) if self._annotated else self._only_write(detections)

    def _only_write(self, detections: dict[Any, ImageDetections]) -> dict[str, dict[str, float]]:
        if not self._output_dir:
            logger.warning("there are no annotations to compare with, and no output_dir for the detections")
            return {}
        path = self._write_detections(detections)
        logger.warning("there are no annotations to compare with; the detections of all images are in %s", path)
        return {}

    def _results(
        self, detections: dict[Any, ImageDetections], img_ids: Sequence[int] | None
    ) -> dict[str, dict[str, float]]:
        nonfinite = {image_id: image.nonfinite for image_id, image in detections.items() if image.nonfinite}
        if nonfinite:
            shown = ", ".join(str(image_id) for image_id in list(nonfinite)[:10])
            logger.warning("dropped %d NaN or infinite detections, in images %s", sum(nonfinite.values()), shown)
        if not any(len(image.rows) for image in detections.values()):
            logger.warning("no detections in %d images", len(detections))
        masks = masks_of_images(detections)
        rows = {image_id: image.rows for image_id, image in detections.items()}
        results = {BOXES: self._metrics(BOXES, self.curves(rows, img_ids))}
        results[BOXES]["nonfinite_detections"] = float(sum(nonfinite.values()))
        if masks is not None and self._truth.has_masks:
            results[MASKS] = self._metrics(MASKS, self.curves(rows, img_ids, masks))
        if self._output_dir:
            self._write(detections, results)
        return results

    def _metrics(self, task: str, curves: Curves) -> dict[str, float]:
        results = {name: percent(value) for name, value in self.numbers(curves).items()}
        self._log(task, results, curves)
        if len(self._class_names) > 1:
            values = zip(self._class_names, curves.per_class(), strict=True)
            results |= {f"AP-{name}": percent(value) for name, value in values}
        return results

    def curves(
        self,
        rows: Mapping[Any, np.ndarray],
        img_ids: Sequence[int] | None = None,
        masks: Mapping[Any, Sequence[RunLengths]] | None = None,
    ) -> Curves:
        """Compute precision and recall of detections (see `detection_rows`) by image id; of their masks, if given."""
        return self._truth.evaluate(self.backend, rows, self.max_dets, img_ids, masks=masks)

    def numbers(self, curves: Curves) -> dict[str, float]:
        """Return the metrics besides the AP of every class, in [0, 1] or -1."""
        return curves.twelve()

    def _log(self, task: str, results: dict[str, float], curves: Curves) -> None:
        logger.info("Evaluation results for %s by %s:\n%s", task, self.backend, create_small_table(results))
        rows = [(name, percent(value)) for name, value in zip(self._class_names, curves.per_class(), strict=True)]
        if len(rows) > 1:
            table = tabulate(rows, headers=["category", "AP"], tablefmt="pipe", floatfmt=".3f")
            logger.info("AP of every category for %s:\n%s", task, table)

    def _write(self, detections: dict[Any, ImageDetections], results: dict[str, dict[str, float]]) -> None:
        assert self._output_dir is not None
        self._write_detections(detections)
        record = {
            "backend": {"name": self.backend.name, "version": self.backend.version},
            "max_dets": list(self.max_dets),
            "data_set": self._dataset_name,
            "images": len(detections),
            "results": results[BOXES],
            **{task: metrics for task, metrics in results.items() if task != BOXES},
        }
        with open(os.path.join(self._output_dir, "coco_evaluation.json"), "w", encoding="utf-8") as file:
            json.dump(record, file)

    def _write_detections(self, detections: dict[Any, ImageDetections]) -> str:
        assert self._output_dir is not None
        return write_detections(self._output_dir, detections, self._category_ids, self._absent)


def limits(max_dets: int) -> tuple[int, ...]:
    """Return COCO's limits on the detections per image and class, (1, 10, max_dets); none is above `max_dets`."""
    return (*(min(limit, max_dets) for limit in (1, 10)), max_dets)


def percent(value: float) -> float:
    """Convert a fraction to percent; -1, which means no value, is kept."""
    return value if value < 0 else 100 * value
