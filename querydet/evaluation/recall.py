"""Recall of the initial proposals and of the boxes of every decoder layer.

The average recall of Hosang et al. (arXiv 1502.05082, section 5) as Detectron2 computes it for proposals: the boxes of
an image are matched one to one with its objects, in descending order of IoU; recall at a threshold is the fraction of
objects whose box has at least this IoU, averaged over the IoU thresholds .5, .55, ... .95. All queries count and
classes do not: it measures which objects could be detected, AP which are.
"""

from typing import Any

import torch
from torch import Tensor

from querydet.evaluation.coco_evaluation import percent
from querydet.evaluation.per_image import PerImageEvaluator, image_truth, mean_or_missing, size_groups
from querydet.evaluation.query_predictions import QueryRecord, queries_of
from querydet.modeling.boxes import box_iou, cxcywh_to_xyxy

THRESHOLDS = torch.linspace(0.5, 0.95, 10, dtype=torch.float64)
PROPOSALS = "proposals"


class QueryRecallEvaluator(PerImageEvaluator):
    """Recall, in percent, of `proposals` and of the boxes of `layer1`, `layer2` ... of the decoder.

    For each of them, with names such as `layer1-AR`: the average recall `AR` of all and `ARs`, `ARm`, `ARl` of small,
    medium and large objects, and the recall `R50` and `R75` at IoU 0.5 and 0.75. -1 without objects. Proposals that are
    points are left out.

    Args:
        dataset: the loaded data set.
        distributed: gather from all processes.

    Raises:
        ValueError: the data set has no images or no class names.
    """

    uses_queries = True

    def measure(self, record: dict[str, Any], output: dict[str, Any]) -> dict[str, Tensor]:
        """Return the areas (T,) of the objects, and the IoU (T,) with their boxes by stage.

        Raises:
            ValueError: the output has no queries.
        """
        truth = image_truth(record).objects()
        gt_boxes_xyxy = truth.normalised_xyxy()
        stages = stage_boxes(queries_of(output, type(self).__name__))
        return {
            "areas": truth.areas,
            **{name: covered(cxcywh_to_xyxy(boxes.double()), gt_boxes_xyxy) for name, boxes in stages.items()},
        }

    def summarise(self, measurements: dict[Any, dict[str, Tensor]]) -> dict[str, dict[str, float]]:
        """Return `{"recall": {...}}`."""
        stages = [
            PROPOSALS,
            *(name for name in next(iter(measurements.values()), {}) if name not in ("areas", PROPOSALS)),
        ]
        results: dict[str, float] = {}
        for stage in stages:
            images = [image for image in measurements.values() if stage in image]
            empty = torch.zeros(0, dtype=torch.float64)
            overlaps = torch.cat([empty, *(image[stage] for image in images)])
            areas = torch.cat([empty, *(image["areas"] for image in images)])
            reached = (overlaps[:, None] >= THRESHOLDS - 1e-9).double()  # (n, 10)
            for suffix, mask in size_groups(areas).items():
                results[f"{stage}-AR{suffix}"] = percent(mean_or_missing(reached[mask]))
            results[f"{stage}-R50"] = percent(mean_or_missing(reached[:, 0]))
            results[f"{stage}-R75"] = percent(mean_or_missing(reached[:, 5]))
        return {"recall": results}


def stage_boxes(record: QueryRecord) -> dict[str, Tensor]:
    """Return the boxes (Q, 4) of every stage; initial points are left out."""
    stages = {PROPOSALS: record.start} if record.start.shape[-1] == 4 else {}
    return stages | {f"layer{index}": boxes for index, boxes in enumerate(record.boxes, start=1)}


def covered(boxes_xyxy: Tensor, objects_xyxy: Tensor) -> Tensor:
    """Match boxes with objects one to one by IoU, largest first; return the IoU (T,) of every object, 0 if unmatched.

    Args:
        boxes_xyxy: (Q, 4).
        objects_xyxy: (T, 4), in the same unit.
    """
    overlaps = box_iou(boxes_xyxy[:, None], objects_xyxy[None])
    ious = overlaps.new_zeros(len(objects_xyxy))
    for _ in range(min(overlaps.shape)):
        box, item = divmod(int(overlaps.argmax()), overlaps.shape[1])
        ious[item] = overlaps[box, item].clamp(min=0)
        overlaps[box] = overlaps[:, item] = -1
    return ious
