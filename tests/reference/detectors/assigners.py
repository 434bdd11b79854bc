"""Who finds which object: one-to-one matching, and the one-to-many assignments of MS-DETR and DETA.

Pairs are (2, n): predictions over objects.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from tests.reference.detectors.boxes import giou, iou_table
from tests.reference.detectors.draws import Draws
from tests.reference.detectors.run import Objects


def hungarian(
    logits: Tensor,
    boxes: Tensor,
    objects: Objects,
    costs: tuple[float, float, float],
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    eps: float = 0.0,
) -> Tensor:
    """Match (N, K) and (N, 4) of one image at the least cost of class, L1 distance and generalised IoU."""
    table = logits.new_zeros(len(boxes), len(objects))
    for number in range(len(objects)):
        box = objects.boxes[number].to(boxes.dtype).expand_as(boxes)
        p = logits[:, objects.labels[number]].sigmoid()
        found = alpha * (1 - p) ** gamma * -torch.log(p + 1e-8)
        missed = (1 - alpha) * p**gamma * -torch.log(1 - p + 1e-8)
        table[:, number] = (
            costs[0] * (found - missed) + costs[1] * (boxes - box).abs().sum(-1) - costs[2] * giou(boxes, box, eps)
        )
    return torch.stack([torch.as_tensor(side) for side in linear_sum_assignment(table.detach().numpy())]).long()


def _keep_some(positive: Tensor, negative: Tensor, most: int, draws: Draws) -> Tensor:
    """Indices of the positives that a random draw leaves; another draw, of negatives, is without use."""
    (index,) = positive.nonzero(as_tuple=True)
    kept = index[draws.permutation(len(index))[:most]]
    draws.permutation(int(negative.sum()))
    return kept


def _best_of_each(scores: Tensor, kept: Tensor, most: int) -> list[tuple[int, int]]:
    """For each object, as many of its best predictions as kept ones prefer it, ``most`` at most."""
    prefers = scores.argmax(0)
    pairs = []
    for number, row in enumerate(scores):
        count = min(int((prefers[kept] == number).sum()), most)
        pairs += [(query, number) for query in row.topk(count).indices.tolist()]
    return pairs


def _as_pairs(pairs: list[tuple[int, int]]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T


def ms_detr(
    logits: Tensor, boxes: Tensor, objects: Objects, draws: Draws, *, threshold: float = 0.4, most: int = 6
) -> Tensor:
    """MS-DETR's (arXiv 2401.03989, section 3.2): by a score of overlap and class; the highest score comes last."""
    if not len(objects):
        _keep_some(torch.zeros(len(boxes)), torch.ones(len(boxes)), 0, draws)
        return _as_pairs([])
    scores = 0.7 * iou_table(objects.boxes, boxes) + 0.3 * logits[:, objects.labels].sigmoid().T
    positive = scores.max(0).values >= threshold
    positive[scores.argmax(1)] = True
    kept = _keep_some(positive, ~positive, int(0.25 * len(boxes)), draws)
    pairs = _best_of_each(scores, kept, most)
    return _as_pairs(sorted(pairs, key=lambda pair: float(scores[pair[1], pair[0]])))


def merged(one_to_one: Tensor, one_to_many: Tensor) -> Tensor:
    """Both kinds of pairs, one for each prediction: the later one-to-many pair wins."""
    objects = dict(one_to_one.T.tolist())
    objects.update(one_to_many.T.tolist())
    return _as_pairs(sorted(objects.items()))


def by_overlap(
    boxes: Tensor,
    objects: Objects,
    draws: Draws,
    *,
    low: float,
    high: float,
    most: int,
    most_positives: int,
) -> Tensor:
    """DETA's (arXiv 2212.06137, section 3.1): by overlap alone; boxes that overlap an object most count in any case."""
    if not len(objects):
        _keep_some(torch.zeros(len(boxes)), torch.ones(len(boxes)), 0, draws)
        return _as_pairs([])
    overlap = iou_table(objects.boxes, boxes)
    highest = overlap.max(0).values
    forced = (overlap == overlap.max(1, keepdim=True).values).any(0)
    positive = (highest >= high) | forced
    kept = _keep_some(positive, (highest < low) & ~forced, most_positives, draws)
    return _as_pairs(_best_of_each(overlap, kept, most))
