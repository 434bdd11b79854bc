"""One-to-one assignment of least total cost (DETR, arXiv 2005.12872, section 3.1)."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from querydet.modeling.assigners.costs import focal_cost
from querydet.modeling.assigners.host import HostAssigner, group_by_shape
from querydet.ops.linear_sum_assignment import UnusableCostError, linear_sum_assignment
from querydet.ops.matching_cost import matching_cost
from querydet.structures import Assignment, PredictionSet, Targets

PAIRS_AT_ONCE = {"cpu": 2**17, "cuda": 2**26}  # whose costs are computed together: in the cache, or within the memory


class HungarianAssigner(HostAssigner):
    """Matches every object to one query, and no query to two objects.

    An image with more objects than queries leaves the objects without a match whose omission is cheapest. A group of
    queries with `repeats` is matched against each object that many times (H-DETR, arXiv 2207.13080, section 3.2).

    Args:
        class_weight, l1_weight, giou_weight: of the cost terms; 2, 5, 2 in all released code.
        alpha, gamma: of the focal class cost.
        giou_eps: added to the denominators of the IoU; 1e-6 in DINO, 0 in Deformable DETR.
        boxes: which boxes are compared: "predicted", or "start": what they were predicted from, which in the encoder
            are the anchors (released code of MS-DETR, with class_weight 0).

    Raises:
        ValueError: for another kind of boxes.
    """

    one_to_one = True
    repeats_targets = True
    score_function = "sigmoid"

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

    @property
    def compares_start_boxes(self) -> bool:
        """True where the boxes that queries start from are compared."""
        return self.boxes == "start"

    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        """The costs of all sets: of sets of the same size together, image by image, (sets, T, Q) each, flat."""
        return tuple(
            self._fold([predictions[number] for number in run], targets) for run in group_by_shape(predictions)
        )

    def _fold(self, sets: Sequence[PredictionSet], targets: Targets) -> Tensor:
        boxes = [each.boxes if self.boxes == "predicted" else each.start_boxes.to(each.boxes.dtype) for each in sets]
        num_queries = boxes[0].shape[1]
        flat = boxes[0].new_empty(len(sets) * num_queries * sum(targets.counts))
        start, rows = 0, max(1, PAIRS_AT_ONCE.get(flat.device.type, 2**26) // max(1, num_queries))
        for image, (labels, gt_boxes) in enumerate(zip(targets.labels, targets.boxes, strict=True)):
            step = max(1, rows // max(1, len(labels)))
            for first in range(0, len(sets), step):
                some = slice(first, first + step)
                logits = [each.logits[image] for each in sets[some]]
                compared = torch.stack([each[image] for each in boxes[some]])
                for some_labels, some_boxes in zip(labels.split(rows), gt_boxes.split(rows), strict=True):
                    cost = self.cost(logits, compared, some_labels, some_boxes)
                    flat[start : start + cost.numel()] = cost.flatten()
                    start += cost.numel()
        return flat

    def cost(self, logits: Sequence[Tensor], boxes: Tensor, labels: Tensor, gt_boxes: Tensor) -> Tensor:
        """Costs (n, T, Q) of n sets and an image: n logits (Q, K), boxes (n, Q, 4), labels (T,), gt_boxes (T, 4)."""
        cost = focal_cost(logits, labels, self.alpha, self.gamma).mul_(self.class_weight)
        return matching_cost(cost, boxes, gt_boxes, self.l1_weight, self.giou_weight, self.giou_eps)

    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        """Solve all problems together. The queries of an image are in rising order.

        Raises:
            FloatingPointError: when a cost is not finite, naming the layer and the image.
        """
        problems = list(_problems(predictions, targets))
        runs = [[predictions[number] for number in run] for run in group_by_shape(predictions)]
        costs = _repeat(computed, runs, targets.counts)
        try:
            matched = linear_sum_assignment(costs, [(len(objects), queries) for _, _, queries, objects in problems])
        except UnusableCostError as error:
            number, image, _, objects = problems[error.problem]
            raise FloatingPointError(
                f"cannot match {predictions[number].describe()} in {targets.names[image]}: the matching cost is not "
                f"finite, of query {error.column} and object {int(objects[error.row])} first. Its logits or boxes are "
                "NaN or infinite; lower the learning rate, or look for broken annotations in that image"
            ) from None
        pairs = iter(_sort_pairs(matched, problems))
        found = {(number, image): next(pairs) for number, image, _, _ in problems}
        images = range(len(targets.labels))
        return [tuple(found[number, image] for image in images) for number in range(len(predictions))]


def _sort_pairs(matched: Sequence[Tensor], problems: Sequence[tuple[int, int, int, Tensor]]) -> Iterator[Assignment]:
    """The pairs of each problem by rising query, without objects that have none; sorted all at once."""
    if not problems:
        return
    queries, objects = torch.cat(list(matched)), torch.cat([objects for *_, objects in problems])
    sizes = [(len(rows), num_queries) for _, _, num_queries, rows in problems]
    problem = torch.repeat_interleave(torch.tensor([rows for rows, _ in sizes]))
    order = (problem * (1 + max(columns for _, columns in sizes)) + queries).argsort()
    order = order[queries[order] >= 0]
    lengths = [min(size) for size in sizes]
    for some_queries, some_objects in zip(queries[order].split(lengths), objects[order].split(lengths), strict=True):
        yield Assignment(queries=some_queries, objects=some_objects)


def _problems(predictions: Sequence[PredictionSet], targets: Targets) -> Iterator[tuple[int, int, int, Tensor]]:
    """Set, image, number of queries and the object of each row of all problems, in the order of the costs."""
    for run in group_by_shape(predictions):
        num_queries, repeats = predictions[run[0]].boxes.shape[1], predictions[run[0]].group.target_repeats
        for image, count in enumerate(targets.counts):
            objects = torch.arange(count).repeat(repeats)
            for number in run:
                yield number, image, num_queries, objects


def _repeat(computed: Sequence[Tensor], runs: Sequence[Sequence[PredictionSet]], counts: Sequence[int]) -> Tensor:
    """The costs of all runs, with every object as often as the group of a run repeats it."""
    costs = []
    for flat, run in zip(computed, runs, strict=True):
        if run[0].group.target_repeats == 1:
            costs.append(flat)
            continue
        num_queries = run[0].boxes.shape[1]
        pieces = flat.split([len(run) * count * num_queries for count in counts])
        for piece, count in zip(pieces, counts, strict=True):
            rows = piece.view(len(run), count, num_queries).repeat(1, run[0].group.target_repeats, 1)
            costs.append(rows.flatten())
    return costs[0] if len(costs) == 1 else torch.cat(costs)
