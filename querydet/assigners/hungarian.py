"""One-to-one assignment of least total cost (DETR, arXiv 2005.12872, section 3.1)."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from querydet.assigners.costs import focal_cost, giou_cost, l1_cost
from querydet.structures import Assignment, PredictionSet, Targets


class HungarianAssigner:
    """Matches every object to one query, and no query to two objects.

    An image with more objects than queries leaves the objects without a match whose omission is cheapest. A group of
    queries with ``repeats`` is matched against each object that many times (H-DETR, arXiv 2207.13080, section 3.2).

    Args:
        class_weight, l1_weight, giou_weight: of the cost terms; 2, 5, 2 in all released code.
        alpha, gamma: of the focal class cost.
        giou_eps: added to the denominators of the IoU; 1e-6 in DINO, 0 in Deformable DETR.
        boxes: which boxes are compared: "predicted", or "start": what they were predicted from, which in the encoder
            are the anchors (released code of MS-DETR, with class_weight 0).

    Raises:
        ValueError: for another kind of boxes.
    """

    def __init__(
        self,
        *,
        class_weight: float = 2.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        giou_eps: float = 0.0,
        boxes: str = "predicted",
    ) -> None:
        if boxes not in ("predicted", "start"):
            raise ValueError(f"boxes must be 'predicted' or 'start', found {boxes!r}")
        self.boxes = boxes
        self.class_weight, self.l1_weight, self.giou_weight = class_weight, l1_weight, giou_weight
        self.alpha, self.gamma = alpha, gamma
        self.giou_eps = giou_eps

    @torch.no_grad()
    def __call__(self, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
        """Assign the queries of each image, in rising order of the query.

        Raises:
            FloatingPointError: when a cost is not finite, naming the layer and the image.
        """
        compared = predictions.boxes if self.boxes == "predicted" else predictions.start_boxes
        compared = compared.to(predictions.boxes.dtype)
        costs = [
            self.cost(logits, boxes, labels, gt_boxes)
            for logits, boxes, labels, gt_boxes in zip(
                predictions.logits, compared, targets.labels, targets.boxes, strict=True
            )
        ]
        # one transfer for all images: the host waits for the device once
        host = torch.cat([cost.flatten() for cost in costs]).cpu().split([cost.numel() for cost in costs])
        return tuple(
            self._solve(values.view(cost.shape), predictions, name, cost.device)
            for values, cost, name in zip(host, costs, targets.names, strict=True)
        )

    def cost(self, logits: Tensor, boxes: Tensor, labels: Tensor, gt_boxes: Tensor) -> Tensor:
        """Cost matrix (Q, T) of one image."""
        return (
            self.class_weight * focal_cost(logits, labels, self.alpha, self.gamma)
            + self.l1_weight * l1_cost(boxes, gt_boxes)
            + self.giou_weight * giou_cost(boxes, gt_boxes, self.giou_eps)
        )

    @staticmethod
    def _solve(cost: Tensor, predictions: PredictionSet, name: str, device: torch.device) -> Assignment:
        if not torch.isfinite(cost).all():
            query, item = (~torch.isfinite(cost)).nonzero()[0].tolist()
            raise FloatingPointError(
                f"cannot match {predictions.describe()} in {name}: the matching cost is not finite, of query {query} "
                f"and object {item} first. Its logits or boxes are NaN or infinite; lower the learning rate, or look "
                "for broken annotations in that image"
            )
        queries, objects = linear_sum_assignment(cost.repeat(1, predictions.group.repeats).numpy())
        objects = objects % max(cost.shape[1], 1)
        return Assignment(queries=torch.from_numpy(queries).to(device), objects=torch.from_numpy(objects).to(device))
