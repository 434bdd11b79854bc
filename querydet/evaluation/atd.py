"""ATD(k), the average top-k distance between objects and the anchors that detect them (DINO, arXiv 2203.03605).

Equation 1 and figure 4: all objects of the validation set are matched with queries as in training; ATD(k) is the mean
of the k largest L1 distances between an object and the *initial* anchor of its query. Contrastive denoising should lead
to closer anchors, above all for the hard cases that the top k are. The authors published no code for it; details that
the paper leaves open are fixed here as follows:

* distances use the four normalised coordinates (cx, cy, w, h);
* anchors are the reference boxes of the first decoder layer;
* objects are matched with the last decoder layer's predictions, with the weights of training (2, 5, 2), without crowd
  regions;
* for one size (figure 4b), objects are selected by the area of the annotation before the k largest are.
"""

from typing import Any

import torch
from torch import Tensor

from querydet.data.catalog import DetectionDataset
from querydet.evaluation.per_image import PerImageEvaluator, image_truth, mean_or_missing, size_groups
from querydet.evaluation.query_predictions import check_assigner, match_queries, queries_of
from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.boxes import xyxy_to_cxcywh
from querydet.parts import Assigner


def average_top_distance(distances: Tensor, k: int) -> float:
    """Compute ATD(k): the mean of the k largest of distances (n,), or of all if there are fewer; -1 without distances.

    Raises:
        ValueError: k is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return mean_or_missing(distances.topk(min(k, len(distances))).values)


class ATDEvaluator(PerImageEvaluator):
    """ATD(k) of all, small, medium and large objects: `ATD`, `ATDs`, `ATDm`, `ATDl`; -1 where there are none.

    Also `objects`, the number of objects, and `unmatched`, how many of them exceed the number of queries of their
    image.

    Args:
        dataset: the loaded data set.
        k: number of largest distances that are averaged; 100 in the paper's figure 4.
        assigner: the bipartite matching of training; None: with weights 2, 5 and 2.
        distributed: gather from all processes.

    Raises:
        ValueError: the data set has no images or no class names, the assigner compares masks, or k is below 1.
    """

    uses_queries = True

    def __init__(
        self,
        *,
        dataset: DetectionDataset,
        k: int = 100,
        assigner: Assigner | None = None,
        distributed: bool = True,
    ) -> None:
        super().__init__(dataset=dataset, distributed=distributed)
        average_top_distance(torch.zeros(0), k)
        self._k = k
        self._assigner = check_assigner(assigner or HungarianAssigner())

    def measure(self, record: dict[str, Any], output: dict[str, Any]) -> dict[str, Tensor]:
        """Compute the distances (n,) and areas (n,) of matched objects, and the areas (T,) of all.

        Raises:
            ValueError: the output has no queries, or they start from points.
        """
        record_of_queries, truth = queries_of(output, type(self).__name__), image_truth(record).objects()
        if record_of_queries.start.shape[-1] != 4:
            raise ValueError(
                "ATD is a distance of boxes, and the queries of this model start from points without a size: use a "
                "model with two stages or learned anchors, or leave ATDEvaluator out"
            )
        queries, objects = match_queries(record_of_queries, truth, self._assigner)
        gt_boxes = xyxy_to_cxcywh(truth.normalised_xyxy())[objects]
        distances = (gt_boxes - record_of_queries.start[queries].double()).abs().sum(1)
        return {"distances": distances, "areas": truth.areas[objects], "all": truth.areas}

    def summarise(self, measurements: dict[Any, dict[str, Tensor]]) -> dict[str, dict[str, float]]:
        """Return `{"atd": {...}}`."""
        empty = torch.zeros(0, dtype=torch.float64)
        distances = torch.cat([empty, *(image["distances"] for image in measurements.values())])
        areas = torch.cat([empty, *(image["areas"] for image in measurements.values())])
        objects = sum(len(image["all"]) for image in measurements.values())
        results = {
            f"ATD{suffix}": average_top_distance(distances[mask], self._k)
            for suffix, mask in size_groups(areas).items()
        }
        return {"atd": {**results, "objects": float(objects), "unmatched": float(objects - len(distances))}}
