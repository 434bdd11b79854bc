"""Which objects the initial proposals and the boxes of every decoder layer cover.

The average recall of Hosang et al. (arXiv 1502.05082, section 5) as Detectron2 computes it for proposals: the boxes of
an image are given to its objects one to one, the largest IoU first; recall at a threshold is the part of the objects
whose box overlaps them by as much, and the average is over the IoU thresholds .5, .55, ... .95. All queries count and
classes do not: this says what could be detected, where AP says what is.
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
    """Recall, in percent, of ``proposals`` and of the boxes of ``layer1``, ``layer2`` ... of the decoder.

    For each, such as ``layer1-AR``: the average recall ``AR`` of all and ``ARs``, ``ARm``, ``ARl`` of small, medium and
    large objects, and the recall ``R50`` and ``R75`` at IoU 0.5 and 0.75. -1 where there are no objects, and of
    proposals that are points.

    Args:
        dataset: the loaded data set.
        distributed: gather from all processes.

    Raises:
        ValueError: the data set has no images or no class names.
    """

    uses_queries = True

    def measure(self, record: dict[str, Any], output: dict[str, Any]) -> dict[str, Tensor]:
        """Areas (T,) of the objects, and their IoU (T,) by stage.

        Raises:
            ValueError: the output has no queries.
        """
        truth = image_truth(record).objects()
        wanted = truth.normalised_xyxy()
        stages = stage_boxes(queries_of(output, type(self).__name__))
        return {
            "areas": truth.areas,
            **{name: covered(cxcywh_to_xyxy(boxes.double()), wanted) for name, boxes in stages.items()},
        }

    def summarise(self, found: dict[Any, dict[str, Tensor]]) -> dict[str, dict[str, float]]:
        """``{"recall": {...}}``."""
        stages = [PROPOSALS, *(name for name in next(iter(found.values()), {}) if name not in ("areas", PROPOSALS))]
        results: dict[str, float] = {}
        for stage in stages:
            images = [each for each in found.values() if stage in each]
            empty = torch.zeros(0, dtype=torch.float64)
            overlaps = torch.cat([empty, *(each[stage] for each in images)])
            areas = torch.cat([empty, *(each["areas"] for each in images)])
            reached = (overlaps[:, None] >= THRESHOLDS - 1e-9).double()  # (n, 10)
            for suffix, mask in size_groups(areas).items():
                results[f"{stage}-AR{suffix}"] = percent(mean_or_missing(reached[mask]))
            results[f"{stage}-R50"] = percent(mean_or_missing(reached[:, 0]))
            results[f"{stage}-R75"] = percent(mean_or_missing(reached[:, 5]))
        return {"recall": results}


def stage_boxes(record: QueryRecord) -> dict[str, Tensor]:
    """The boxes (Q, 4) of every stage; points are no proposals."""
    stages = {PROPOSALS: record.start} if record.start.shape[-1] == 4 else {}
    return stages | {f"layer{number}": boxes for number, boxes in enumerate(record.boxes, start=1)}


def covered(boxes_xyxy: Tensor, objects_xyxy: Tensor) -> Tensor:
    """The IoU (T,) of every object with the box that it is given, 0 where none is left.

    Args:
        boxes_xyxy: (Q, 4).
        objects_xyxy: (T, 4), in the same unit.
    """
    left = box_iou(boxes_xyxy[:, None], objects_xyxy[None])
    found = left.new_zeros(len(objects_xyxy))
    for _ in range(min(left.shape)):
        box, item = divmod(int(left.argmax()), left.shape[1])
        found[item] = left[box, item].clamp(min=0)
        left[box] = left[:, item] = -1
    return found
