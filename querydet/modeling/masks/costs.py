"""The cost of assigning a query to an object by their masks, at points (Mask2Former, arXiv 2112.01527, section 3.3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from querydet.mask_structures import ObjectMasks
from querydet.modeling.boxes import outside_of_autocast
from querydet.modeling.masks.points import check_num_points, sample_objects
from querydet.structures import PredictionSet


class PointMaskCost:
    """Binary cross-entropy and dice loss between the masks of all queries and objects of an image.

    They are compared at random points, which all queries and objects of an image share.

    Args:
        mask_weight: weight of the cross-entropy; 5 in Mask2Former.
        dice_weight: weight of the dice loss; 5 in Mask2Former.
        num_points: P; 112 * 112 in Mask2Former.
    """

    def __init__(self, *, mask_weight: float = 5.0, dice_weight: float = 5.0, num_points: int = 12544) -> None:
        check_num_points(num_points)
        self.mask_weight, self.dice_weight, self.num_points = mask_weight, dice_weight, num_points

    def __call__(self, sets: Sequence[PredictionSet], image: int, objects: ObjectMasks, index: Tensor) -> Tensor:
        """Return costs (n, T, Q) of n sets for an image.

        Args:
            sets: of equal numbers of queries, with masks.
            image: index of the image.
            objects: the masks of the batch.
            index: (T,) int64, the objects of the image among those of the batch.
        """
        return torch.stack([self._of_set(prediction_set, image, objects, index) for prediction_set in sets])

    def _of_set(self, predictions: PredictionSet, image: int, objects: ObjectMasks, index: Tensor) -> Tensor:
        masks, hidden = predictions.masks, predictions.hidden
        assert masks is not None
        assert hidden is not None
        points = objects.draws("matching", predictions.describe(), image, 1, self.num_points)
        logits = masks.at_points(image, hidden[image], points[0])
        targets = sample_objects(objects, index, points)
        with outside_of_autocast(logits.device):
            return self.mask_weight * _entropy(logits, targets) + self.dice_weight * _dice(logits, targets)


def _entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return cross-entropies (T, Q) of logits (Q, P) and targets (T, P), means over the points."""
    object_cost, background_cost = F.softplus(-logits), F.softplus(logits)
    return (targets @ object_cost.T + (1 - targets) @ background_cost.T) / logits.shape[1]


def _dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Return dice losses (T, Q) of logits (Q, P) and targets (T, P)."""
    probability = logits.sigmoid()
    return 1 - (2 * targets @ probability.T + 1) / (probability.sum(1) + targets.sum(1, keepdim=True) + 1)
