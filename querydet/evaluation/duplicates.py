"""Duplicate detections of objects, and the gain from suppressing them.

A model with one-to-one assignment should not need suppression, one with assignment by overlap does (DETA, arXiv
2212.06137, section 4). Over the detections with a score of at least `min_score`, with and without suppression:

    duplicates            = 100 * |duplicates| / |detections|
    duplicates_per_object = |duplicates| / |objects found|

A duplicate would be right if no detection of a higher score had found its object (`evaluation.labelling`; the duplicate
error of TIDE, arXiv 2008.08115). The gain is the AP with suppression minus the AP without, over all detections.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.structures import Instances
from torchvision.ops import batched_nms

from querydet.data.catalog import DetectionDataset
from querydet.evaluation.coco_backend import CocoBackend
from querydet.evaluation.coco_evaluation import limits, percent
from querydet.evaluation.coco_truth import CocoTruth
from querydet.evaluation.image_detections import detection_rows
from querydet.evaluation.labelling import Label, check_fraction, label_detections
from querydet.evaluation.per_image import PerImageEvaluator, check_detections, drop_nonfinite, image_truth
from querydet.evaluation.query_predictions import QUERIES
from querydet.modeling.postprocess import NMSPostprocess, TopKPostprocess

CANDIDATES = 10000  # (query, class) pairs that suppression considers; released code of DETA


@dataclass(frozen=True, slots=True)
class Measured:
    """The detections of an image, with or without suppression."""

    rows: np.ndarray  # see coco_evaluation.detection_rows
    shown: int  # number of detections with a score of at least min_score
    right: int  # number of these that are right
    duplicates: int  # number of these that are duplicates


class DuplicateEvaluator(PerImageEvaluator):
    """`duplicates` (percent), `duplicates_per_object` and `AP`, each also `..._nms`, and `nms_gain`.

    For a querydet detector, both kinds of detections are computed from the predictions of all queries, whatever its own
    postprocess does, so that DETA is also measured without its suppression; for other models, their detections are
    used, with and without suppression. -1 where there are no detections, no object was found, or there are no objects.

    Args:
        dataset: the loaded data set.
        min_score: detections with a lower score are not counted as duplicates; ours: a typical threshold for display.
        iou_threshold: smallest IoU of a right detection with its object.
        nms_threshold: suppression drops a detection whose IoU with a better one of its class is larger; 0.7 in DETA.
        num_detections: number of detections per image.
        backend: of the AP, see `evaluation.coco_backend`.
        distributed: gather from all processes.

    Raises:
        ValueError: the data set has no images or no class names, or a number is out of its range.
    """

    uses_queries = True

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        min_score: float = 0.3,
        iou_threshold: float = 0.5,
        nms_threshold: float = 0.7,
        num_detections: int = 100,
        backend: str = "auto",
        distributed: bool = True,
    ) -> None:
        super().__init__(dataset=dataset, distributed=distributed)
        if num_detections < 1:
            raise ValueError(f"num_detections must be at least 1, got {num_detections}")
        self._min_score = check_fraction("min_score", min_score)
        self._iou_threshold = check_fraction("iou_threshold", iou_threshold)
        self._nms_threshold = check_fraction("nms_threshold", nms_threshold)
        self._max_dets = limits(num_detections)
        self._every = TopKPostprocess(num_detections=num_detections)
        self._suppressed = NMSPostprocess(
            num_detections=num_detections, iou_threshold=nms_threshold, max_candidates=CANDIDATES
        )
        self._truth = CocoTruth(dataset)
        self._backend = CocoBackend(backend)

    def measure(self, record: dict[str, Any], output: dict[str, Any]) -> tuple[Measured, Measured]:
        """Measure the detections of an image without and with suppression."""
        truth = image_truth(record)
        pair = []
        for instances in self._with_and_without(record, output):
            shown = instances[instances.scores >= self._min_score]
            labels = label_detections(shown, truth, self._iou_threshold)
            counts = (labels != Label.IGNORED, labels == Label.RIGHT, labels == Label.DUPLICATE)
            pair.append(Measured(detection_rows(instances), *(int(mask.sum()) for mask in counts)))
        without, suppressed = pair
        return without, suppressed

    def _with_and_without(self, record: dict[str, Any], output: dict[str, Any]) -> tuple[Instances, Instances]:
        if QUERIES not in output:
            instances, _ = self.detections(record, output)
            boxes = instances.pred_boxes.tensor.double()
            kept = batched_nms(boxes, instances.scores.double(), instances.pred_classes, self._nms_threshold)
            return instances, instances[kept]
        queries, size = output[QUERIES].cpu(), [(record["height"], record["width"])]
        logits, boxes = queries.logits[-1:], queries.boxes[-1:]
        results = []
        for postprocess in (self._every, self._suppressed):
            (instances,) = postprocess(logits, boxes, size)
            instances, _ = drop_nonfinite(instances)
            check_detections(instances, record, len(self._class_names))
            results.append(instances)
        return results[0], results[1]

    def summarise(self, measurements: dict[Any, tuple[Measured, Measured]]) -> dict[str, dict[str, float]]:
        """Return `{"duplicates": {...}}`."""
        results: dict[str, float] = {}
        for suffix, images in zip(
            ("", "_nms"), zip(*measurements.values(), strict=True) if measurements else ((), ()), strict=True
        ):
            shown, right, duplicates = (
                sum(getattr(image, name) for image in images) for name in ("shown", "right", "duplicates")
            )
            curves = self._truth.evaluate(
                self._backend,
                {image_id: image.rows for image_id, image in zip(measurements, images, strict=True)},
                self._max_dets,
            )
            results[f"duplicates{suffix}"] = 100 * duplicates / shown if shown else -1.0
            results[f"duplicates_per_object{suffix}"] = duplicates / right if right else -1.0
            results[f"AP{suffix}"] = percent(curves.twelve()["AP"])
        known = results["AP"] >= 0
        return {"duplicates": {**results, "nms_gain": results["AP_nms"] - results["AP"] if known else -1.0}}
