"""Denoising queries: DN-DETR (arXiv 2203.01305, section 4) and DINO (arXiv 2203.03605, section 3.3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.reference.detectors.boxes import corners, inverse_sigmoid
from tests.reference.detectors.draws import Draws
from tests.reference.detectors.run import Objects


@dataclass
class Noised:
    """Denoising queries.

    Args:
        content: (B, P, C).
        boxes: (B, P, 4), logits.
        groups: number of groups, each of P / groups slots.
        width: slots of a group.
        pairs: for each image, slots over objects (2, n), of the queries that have an object to find.
    """

    content: Tensor
    boxes: Tensor
    groups: int
    width: int
    pairs: list[Tensor]

    def blocked(self, matching: int) -> Tensor:
        """(P + N, P + N), True where a row may not attend."""
        pad = self.content.shape[1]
        mask = torch.zeros(pad + matching, pad + matching, dtype=torch.bool)
        mask[:, :pad] = True
        for start in range(0, pad, self.width or 1):
            group = slice(start, start + self.width)
            mask[group, group] = False
        return mask


def _flip(labels: Tensor, probability: float, classes: int, draws: Draws) -> Tensor:
    labels = labels.clone()
    if probability > 0:
        (chosen,) = (draws.uniform(len(labels)) < probability).nonzero(as_tuple=True)
        labels[chosen] = draws.integers(classes, len(chosen))
    return labels


def _fill(targets: list[Objects], content: Tensor, boxes: Tensor, repeats: int) -> tuple[Tensor, Tensor]:
    """Put the rows of all repeats of all objects of the batch into their slots; the others are zero."""
    longest = max(map(len, targets))
    filled = content.new_zeros(len(targets), repeats * longest, content.shape[-1])
    places = boxes.new_zeros(len(targets), repeats * longest, 4)
    row = 0
    for repeat in range(repeats):
        for image, objects in enumerate(targets):
            for slot in range(repeat * longest, repeat * longest + len(objects)):
                filled[image, slot], places[image, slot] = content[row], boxes[row]
                row += 1
    return filled, places


def _pairs(targets: list[Objects], starts: list[int]) -> list[Tensor]:
    return [
        torch.tensor([(start + j, j) for start in starts for j in range(len(objects))], dtype=torch.int64)
        .reshape(-1, 2)
        .T
        for objects in targets
    ]


def dn_detr(
    targets: list[Objects], table: Tensor, draws: Draws, *, classes: int, groups: int, flip: float, scale: float
) -> Noised:
    """DN-DETR's: centres and sizes are moved, labels flipped with probability ``flip``; a last channel marks them."""
    labels = torch.cat([one.labels for one in targets]).repeat(groups)
    boxes = torch.cat([one.boxes for one in targets]).repeat(groups, 1)
    labels = _flip(labels, flip, classes, draws)
    if scale > 0:
        reach = torch.cat([boxes[:, 2:] / 2, boxes[:, 2:]], -1)
        boxes = (boxes + (draws.uniform(len(boxes), 4) * 2 - 1) * reach * scale).clamp(0, 1)
    content = torch.cat([table[labels], table.new_ones(len(labels), 1)], -1)
    longest = max(map(len, targets))
    filled, places = _fill(targets, content, inverse_sigmoid(boxes, 1e-3), groups)
    pairs = _pairs(targets, [group * longest for group in range(groups)])
    return Noised(filled, places, groups, longest, pairs)


def dino_groups(number: int, longest: int) -> int:
    """Groups that `dn_number` makes of a batch whose fullest image has so many objects."""
    doubled = 2 * number
    if not longest:
        return 1
    return max(1, doubled // (2 * longest)) if doubled >= 100 else doubled


def dino(
    targets: list[Objects], table: Tensor, draws: Draws, *, classes: int, number: int, ratio: float, scale: float
) -> Noised:
    """DINO's: corners are moved, by up to half a side in positives and by half to a whole side in negatives."""
    longest = max(map(len, targets))
    groups = dino_groups(number, longest)
    labels = torch.cat([one.labels for one in targets])
    boxes = torch.cat([one.boxes for one in targets])
    total = len(labels)
    labels, boxes = labels.repeat(2 * groups), boxes.repeat(2 * groups, 1)
    labels = _flip(labels, 0.5 * ratio, classes, draws)
    if scale > 0:
        sign = draws.coins(len(boxes), 4) * 2 - 1
        size = draws.uniform(len(boxes), 4).clone()
        for repeat in range(1, 2 * groups, 2):
            size[repeat * total : (repeat + 1) * total] += 1
        halves = torch.cat([boxes[:, 2:], boxes[:, 2:]], -1) / 2
        low, high = (corners(boxes) + size * sign * halves * scale).clamp(0, 1).split(2, -1)
        boxes = torch.cat([(low + high) / 2, high - low], -1)
    filled, places = _fill(targets, table[labels], inverse_sigmoid(boxes, 1e-3), 2 * groups)
    pairs = _pairs(targets, [2 * group * longest for group in range(groups)])
    return Noised(filled, places, groups, 2 * longest, pairs)
