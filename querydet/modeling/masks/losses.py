"""Losses of predicted masks, one value for each assigned pair.

A rule computes them for the sets that have masks only. Letters are those of `querydet.structures`; N counts pairs, P
points.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from querydet.mask_structures import PairMasks
from querydet.modeling.masks.pairs import PointSamples, compare_whole, sample_pairs
from querydet.modeling.masks.points import PointSampling
from querydet.structures import JoinedPredictions, MatchedPairs

WHOLE_AT_ONCE = 4  # whole masks that are compared together: at 800 x 1333 pixels, about 100 MB


def dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return the dice losses (n,) of masks (n, P): `1 - (2 sum(p t) + 1) / (sum p + sum t + 1)` (released codes).

    Source: V-Net, arXiv 1606.04797, section 3, without its squares and smoothed by 1.
    """
    overlap = (probabilities * targets).sum(1)
    return 1 - (2 * overlap + 1) / (probabilities.sum(1) + targets.sum(1) + 1)


class _PointTerm:
    """A loss at points that are chosen for each pair.

    Args:
        weight: factor of the loss.
        num_points, oversampling, importance: see `querydet.modeling.masks.points.PointSampling`.
    """

    reads_masks = True

    def __init__(
        self, *, weight: float, num_points: int = 12544, oversampling: float = 3.0, importance: float = 0.75
    ) -> None:
        self.weight = weight
        self.sampling = PointSampling(num_points, oversampling, importance)

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each pair (N,)."""
        pairs = masks_of(matched)
        return pairs.restore([self.compare(sample_pairs(pairs, self.sampling))])

    def compare(self, samples: PointSamples) -> Tensor:
        """Return the losses (N,) of samples."""
        raise NotImplementedError


class PointMaskLoss(_PointTerm):
    """Binary cross-entropy of masks, a mean over points (Mask2Former, arXiv 2112.01527, section 3.3).

    Args:
        weight: factor of the loss; 5 in Mask2Former and Mr. DETR.
        num_points, oversampling, importance: see `querydet.modeling.masks.points.PointSampling`; terms of equal numbers
            share their points.
    """

    def compare(self, samples: PointSamples) -> Tensor:
        """Return the losses (N,) of samples."""
        return F.binary_cross_entropy_with_logits(samples.logits, samples.targets, reduction="none").mean(1)


class PointDiceLoss(_PointTerm):
    """Dice loss of masks over points (Mask2Former, arXiv 2112.01527, section 3.3).

    Args:
        weight: factor of the loss; 5 in Mask2Former, 2 in Mr. DETR.
        num_points, oversampling, importance: as of `PointMaskLoss`.
    """

    def compare(self, samples: PointSamples) -> Tensor:
        """Return the losses (N,) of samples."""
        return dice_loss(samples.logits.sigmoid(), samples.targets)


class FocalMaskLoss:
    """Sigmoid focal loss of masks, a mean over all pixels of the padded image (DETR, arXiv 2005.12872, section 4.4).

    Args:
        weight: factor of the loss; 1 in the released codes of DETR and MS-DETR.
        alpha: weight of the object's pixels, from 0 to 1.
        gamma: exponent that focuses the loss on hard pixels, at least 0.
    """

    reads_masks = True

    def __init__(self, *, weight: float, alpha: float = 0.25, gamma: float = 2.0) -> None:
        self.weight, self.alpha, self.gamma = weight, alpha, gamma

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each pair (N,)."""
        return compare_whole(masks_of(matched), partial(_focal, alpha=self.alpha, gamma=self.gamma), WHOLE_AT_ONCE)


class DiceLoss:
    """Dice loss of masks over all pixels of the padded image (DETR, arXiv 2005.12872, section 4.4).

    Args:
        weight: factor of the loss; 1 in the released codes of DETR and MS-DETR.
    """

    reads_masks = True

    def __init__(self, *, weight: float) -> None:
        self.weight = weight

    def __call__(self, predictions: JoinedPredictions, matched: MatchedPairs) -> Tensor:
        """Return the loss of each pair (N,)."""
        return compare_whole(masks_of(matched), _dice, WHOLE_AT_ONCE)


def masks_of(matched: MatchedPairs) -> PairMasks:
    """Return the masks of pairs.

    Raises:
        ValueError: there are none.
    """
    if matched.masks is None:
        raise ValueError(
            "a loss of masks needs predictions with masks and annotations with masks: set model.masks, and "
            "dataloader.train.dataset.masks=True"
        )
    return matched.masks


def _focal(masks: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    entropy = F.binary_cross_entropy_with_logits(masks, targets.to(masks.dtype), reduction="none")
    probability = masks.sigmoid()
    wrong = torch.where(targets, 1 - probability, probability)
    weight = torch.where(targets, alpha, 1 - alpha)
    return (weight * entropy * wrong**gamma).mean((1, 2))


def _dice(masks: Tensor, targets: Tensor) -> Tensor:
    return dice_loss(masks.sigmoid().flatten(1), targets.flatten(1).to(masks.dtype))
