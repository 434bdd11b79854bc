"""Calibration of scores: the expected calibration error.

Guo et al. (arXiv 1706.04599, equation 3) for classifiers; for detectors, with precision in place of accuracy, Küppers
et al. (arXiv 2004.13546), here by the confidence only. Detections are put into M bins of equal width by their score;
with n_m detections in bin m, p_m the fraction of them that is right and c_m their mean score,

    ECE = sum_m n_m / n * |p_m - c_m|        MCE = max_m |p_m - c_m| over bins with detections

A detection is right if it is the first to find an object of its class (`evaluation.labelling`); those inside of crowd
regions are ignored. The result depends on which detections are included: report `min_score` and the model's number of
detections with it.
"""

import json
import os
from typing import Any

import torch
from torch import Tensor

from querydet.data.catalog import DetectionDataset
from querydet.evaluation.labelling import Label, check_fraction, label_detections
from querydet.evaluation.per_image import PerImageEvaluator, image_truth


def reliability(scores: Tensor, right: Tensor, num_bins: int) -> list[dict[str, float]]:
    """Compute the bins of a reliability diagram.

    Args:
        scores: (n,) in [0, 1].
        right: (n,) bool, whether each detection is right.
        num_bins: M; bin m holds the scores in ((m - 1) / M, m / M], and the first one 0 as well.

    Returns:
        For every bin, its bounds `low` and `high`, its number of `detections`, their `precision` and `mean_score`; the
        last two are -1 without detections.
    """
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)
    bin_of = (torch.bucketize(scores.double(), edges) - 1).clamp(0, num_bins - 1)
    bins = []
    for index in range(num_bins):
        inside = bin_of == index
        count = int(inside.sum())
        bins.append(
            {
                "low": float(edges[index]),
                "high": float(edges[index + 1]),
                "detections": float(count),
                "precision": float(right[inside].double().mean()) if count else -1.0,
                "mean_score": float(scores[inside].double().mean()) if count else -1.0,
            }
        )
    return bins


def calibration_errors(bins: list[dict[str, float]]) -> tuple[float, float]:
    """Compute ECE and MCE, in [0, 1], of the bins of `reliability`; -1 without detections."""
    filled = [entry for entry in bins if entry["detections"]]
    gaps = [abs(entry["precision"] - entry["mean_score"]) for entry in filled]
    total = sum(entry["detections"] for entry in filled)
    if not total:
        return -1.0, -1.0
    weighted = (gap * entry["detections"] / total for gap, entry in zip(gaps, filled, strict=True))
    return sum(weighted), max(gaps)


class CalibrationEvaluator(PerImageEvaluator):
    """`ECE`, `MCE`, `mean_score` and `precision` in [0, 1], and the number of `detections`.

    All but the number are -1 without detections.

    Args:
        dataset: the loaded data set.
        num_bins: M; 10 or 15 are usual.
        iou_threshold: smallest IoU of a right detection with its object.
        min_score: detections with a lower score are left out.
        output_dir: folder for `calibration.json`, the bins of the reliability diagram; None: it is not written.
        distributed: gather from all processes.

    Raises:
        ValueError: the data set has no images or no class names, or a number is out of its range.
    """

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        num_bins: int = 10,
        iou_threshold: float = 0.5,
        min_score: float = 0.0,
        output_dir: str | None = None,
        distributed: bool = True,
    ) -> None:
        super().__init__(dataset=dataset, distributed=distributed)
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {num_bins}")
        self._num_bins = num_bins
        self._iou_threshold = check_fraction("iou_threshold", iou_threshold)
        self._min_score = check_fraction("min_score", min_score)
        self._output_dir = output_dir

    def measure(self, record: dict[str, Any], output: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the scores (n,) of all detections that are not ignored, and whether each is right (n,)."""
        instances, _ = self.detections(record, output)
        instances = instances[instances.scores >= self._min_score]
        labels = label_detections(instances, image_truth(record), self._iou_threshold)
        counts = labels != Label.IGNORED
        return instances.scores[counts].double(), labels[counts] == Label.RIGHT

    def summarise(self, measurements: dict[Any, tuple[Tensor, Tensor]]) -> dict[str, dict[str, float]]:
        """Return `{"calibration": {...}}`."""
        scores = torch.cat(
            [torch.zeros(0, dtype=torch.float64), *(image_scores for image_scores, _ in measurements.values())]
        )
        right = torch.cat(
            [torch.zeros(0, dtype=torch.bool), *(image_right for _, image_right in measurements.values())]
        )
        bins = reliability(scores, right, self._num_bins)
        expected, largest = calibration_errors(bins)
        (overall,) = reliability(scores, right, 1)
        results = {
            "ECE": expected,
            "MCE": largest,
            "mean_score": overall["mean_score"],
            "precision": overall["precision"],
            "detections": overall["detections"],
        }
        if self._output_dir:
            os.makedirs(self._output_dir, exist_ok=True)
            with open(os.path.join(self._output_dir, "calibration.json"), "w", encoding="utf-8") as file:
                json.dump({**results, "bins": bins}, file, indent=1)
        return {"calibration": results}
