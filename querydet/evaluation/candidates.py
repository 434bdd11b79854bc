"""Quality of the candidates of an object: the queries that are likely to be matched with it.

MS-DETR (arXiv 2401.03989) argues that one-to-many supervision makes better candidates, and shows them in figures 1 and
7: the best 20 queries of an object, ranked by their IoU with it. The authors published no code for the figures. With
another alpha than 0, the ranking is by the matching score of section 3.2, `alpha * p + (1 - alpha) * IoU`, with p the
score of the object's class and alpha 0.3 in the released code. The quality of a candidate is its IoU and its score.
"""

import json
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from querydet.data.catalog import DetectionDataset
from querydet.evaluation.candidate_defaults import ALPHA, COUNT
from querydet.evaluation.coco_evaluation import percent
from querydet.evaluation.per_image import ImageTruth, PerImageEvaluator, image_truth, mean_or_missing
from querydet.evaluation.query_predictions import QueryRecord, queries_of
from querydet.modeling.boxes import box_iou, cxcywh_to_xyxy

FILE = "candidates.json"  # in the output folder of an evaluator
GOOD = 0.5  # smallest IoU of a good candidate, ours


@dataclass(frozen=True, slots=True)
class Candidates:
    """The n best candidates of each of the T objects of an image, best first."""

    queries: Tensor  # (T, n) int64
    quality: Tensor  # (T, n), the matching score that they are ranked by
    ious: Tensor  # (T, n)
    scores: Tensor  # (T, n), of the object's class


def rank_candidates(
    record: QueryRecord, truth: ImageTruth, *, count: int = COUNT, alpha: float = ALPHA, layer: int = -1
) -> Candidates:
    """Rank the queries of an image for each of its objects.

    Args:
        record: queries of the image.
        truth: its annotations; crowd regions are left out.
        count: number n of candidates, at most the number of queries.
        alpha: weight of the class score; the IoU has the weight 1 - alpha.
        layer: index of the decoder layer whose predictions are ranked.
    """
    objects = truth.objects()
    boxes = cxcywh_to_xyxy(record.boxes[layer].double())
    ious = box_iou(objects.normalised_xyxy()[:, None], boxes[None])  # (T, Q)
    scores = record.logits[layer].double().sigmoid()[:, objects.labels].T
    quality, queries = (alpha * scores + (1 - alpha) * ious).sort(dim=1, descending=True, stable=True)
    queries = queries[:, :count]
    return Candidates(queries, quality[:, :count], ious.gather(1, queries), scores.gather(1, queries))


class CandidateEvaluator(PerImageEvaluator):
    """Mean IoU and class score of the candidates of all objects.

    `IoU` and `score` are means over the `count` best candidates, `IoU1` and `score1` those of the best one, all in
    percent; `good` is the mean number of candidates of an object with an IoU of at least 0.5. -1 without objects.

    Args:
        dataset: the loaded data set.
        count: number of candidates per object.
        alpha: weight of the class score in the ranking.
        layer: decoder layer, counted from 1; None: the last one.
        output_dir: folder for the means by rank, `candidates.json`; None: they are not written.
        distributed: gather from all processes.

    Raises:
        ValueError: the data set has no images or no class names, or a number is out of its range.
    """

    uses_queries = True

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        count: int = COUNT,
        alpha: float = ALPHA,
        layer: int | None = None,
        output_dir: str | None = None,
        distributed: bool = True,
    ) -> None:
        super().__init__(dataset=dataset, distributed=distributed)
        check_ranking(count, alpha)
        if layer is not None and layer < 1:
            raise ValueError(f"decoder layers are counted from 1, found layer {layer}")
        self.count, self.alpha, self.layer, self.output_dir = count, alpha, layer, output_dir

    def measure(self, record: dict[str, Any], output: dict[str, Any]) -> dict[str, Tensor]:
        """Compute IoUs and scores (T, n) of the candidates in an image.

        Raises:
            ValueError: the output has no queries, or the decoder has no such layer.
        """
        queries = queries_of(output, type(self).__name__)
        if self.layer is not None and self.layer > len(queries.boxes):
            raise ValueError(f"there is no decoder layer {self.layer}: they are 1 to {len(queries.boxes)}")
        layer = -1 if self.layer is None else self.layer - 1
        candidates = rank_candidates(queries, image_truth(record), count=self.count, alpha=self.alpha, layer=layer)
        return {"ious": candidates.ious, "scores": candidates.scores}

    def summarise(self, measurements: dict[Any, dict[str, Tensor]]) -> dict[str, dict[str, float]]:
        """Return `{"candidates": {...}}`."""
        width = min((image["ious"].shape[1] for image in measurements.values()), default=0)  # queries may be fewer
        empty = torch.zeros(0, width, dtype=torch.float64)
        ious, scores = (
            torch.cat([empty, *(image[key][:, :width] for image in measurements.values())])
            for key in ("ious", "scores")
        )
        results = {"IoU": _mean_percent(ious), "score": _mean_percent(scores)}
        results |= {"IoU1": _mean_percent(ious[:, :1]), "score1": _mean_percent(scores[:, :1])}
        results["good"] = mean_or_missing((ious >= GOOD).sum(1).double())
        if self.output_dir:
            os.makedirs(self.output_dir, exist_ok=True)
            by_rank = {
                "objects": len(ious),
                "IoU": [_mean_percent(column) for column in ious.unbind(1)],
                "score": [_mean_percent(column) for column in scores.unbind(1)],
            }
            with open(os.path.join(self.output_dir, FILE), "w", encoding="utf-8") as file:
                json.dump({**results, "by_rank": by_rank}, file, indent=1)
        return {"candidates": results}


def check_ranking(count: int, alpha: float) -> None:
    """Raise ValueError unless `count` is positive and alpha is in [0, 1]."""
    if count < 1 or not 0 <= alpha <= 1:
        raise ValueError(f"count must be at least 1 and alpha in [0, 1]; found {count} and {alpha}")


def _mean_percent(values: Tensor) -> float:
    return percent(mean_or_missing(values))
