"""Assignment of least total cost, one to one (DETR, arXiv 2005.12872, section 3.1) or with copies of each object."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from querydet.modeling.assigners.copies import Copies
from querydet.modeling.assigners.costs import focal_cost
from querydet.modeling.assigners.host import HostAssigner, group_by_size
from querydet.modeling.masks.costs import PointMaskCost
from querydet.ops.linear_sum_assignment import UnusableCostError, linear_sum_assignment
from querydet.ops.matching_cost import matching_cost
from querydet.structures import Assignment, PredictionSet, Targets

# Pairs of queries and objects whose costs are computed together: they fit into the cache, or into the GPU's memory.
Problem = tuple[int, int, int, Tensor]  # index of the set, image, number of queries, and the object of each row
PAIRS_AT_ONCE = {"cpu": 2**17, "cuda": 2**26}


class HungarianAssigner(HostAssigner):
    """Matches every object with one query, and no query with two objects, at the least total cost.

    In an image with more objects than queries, the total cost also decides which objects have no query. A group with
    `target_repeats` of R is matched with R copies of each object (H-DETR, arXiv 2207.13080, section 3.2), and
    `copies` multiplies them in chosen layers of any group (DETA, arXiv 2212.06137, table 6; Align-DETR).

    Args:
        copies: number of queries of each object, see `querydet.modeling.assigners.copies.Copies`.
        class_weight, l1_weight, giou_weight: weights of the costs; 2, 5, 2 in all released code.
        alpha, gamma: balance and exponent of the focal class cost, see `querydet.modeling.assigners.costs.focal_cost`.
        giou_eps: added to the denominators of the generalised IoU; 1e-6 in DINO, 0 in Deformable DETR.
        boxes: the boxes that are compared with objects: "predicted", or "start", those that the predictions refine: in
            the encoder the anchors (released code of MS-DETR, with class_weight 0).
        mask_cost: compares the masks of queries and objects too (Mask2Former); None: matching does not look at them.

    Raises:
        ValueError: for another kind of boxes.
    """

    repeats_targets = True
    score_function = "sigmoid"

    def __init__(
        self,
        *,
        copies: Copies | int = 1,
        class_weight: float = 2.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        giou_eps: float = 0.0,
        boxes: str = "predicted",
        mask_cost: PointMaskCost | None = None,
    ) -> None:
        if boxes not in ("predicted", "start"):
            raise ValueError(f"boxes must be 'predicted' or 'start', found {boxes!r}")
        self.boxes = boxes
        self.copies = copies if isinstance(copies, Copies) else Copies(copies)
        self.class_weight, self.l1_weight, self.giou_weight = class_weight, l1_weight, giou_weight
        self.alpha, self.gamma = alpha, gamma
        self.giou_eps = giou_eps
        self.mask_cost = mask_cost

    @property
    def one_to_one(self) -> bool:
        """True where the last layer, which inference reads, has one query for each object."""
        return self.copies.of_last_layer == 1

    @property
    def num_layers(self) -> int | None:
        """The number of layers that it has copies for; None: any."""
        return self.copies.num_layers

    @property
    def compares_start_boxes(self) -> bool:
        """True where the boxes that queries start from are compared."""
        return self.boxes == "start"

    @property
    def reads_boxes(self) -> bool:
        """True where boxes have a part in the costs."""
        return bool(self.l1_weight or self.giou_weight)

    @property
    def reads_masks(self) -> bool:
        """True where masks have a part in the costs."""
        return self.mask_cost is not None

    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        """Compute the costs of all sets.

        Returns:
            A flat tensor for all sets of equal shape, which holds for each image their costs (sets, T, Q).
        """
        return tuple(
            self._costs_of([predictions[index] for index in indices], targets) for indices in group_by_size(predictions)
        )

    def _costs_of(self, sets: Sequence[PredictionSet], targets: Targets) -> Tensor:
        if self.boxes == "predicted":
            boxes = [prediction_set.boxes for prediction_set in sets]
        else:
            boxes = [prediction_set.start_boxes.to(prediction_set.boxes.dtype) for prediction_set in sets]
        num_queries = boxes[0].shape[1]
        flat = boxes[0].new_empty(len(sets) * num_queries * sum(targets.counts))
        start, max_rows = 0, max(1, PAIRS_AT_ONCE.get(flat.device.type, 2**26) // max(1, num_queries))
        first_objects = accumulate(targets.counts, initial=0)
        for image, (labels, gt_boxes) in enumerate(zip(targets.labels, targets.boxes, strict=True)):
            step = max(1, max_rows // max(1, len(labels)))
            objects = torch.arange(len(labels), device=labels.device) + next(first_objects)
            for first in range(0, len(sets), step):
                block = slice(first, first + step)
                block_logits = [prediction_set.logits[image] for prediction_set in sets[block]]
                block_boxes = torch.stack([set_boxes[image] for set_boxes in boxes[block]])
                for row_labels, row_boxes, rows in zip(
                    *(values.split(max_rows) for values in (labels, gt_boxes, objects)), strict=True
                ):
                    cost = self.cost(block_logits, block_boxes, row_labels, row_boxes)
                    if self.mask_cost is not None:
                        cost = cost + self._mask_costs(self.mask_cost, sets[block], image, targets, rows)
                    flat[start : start + cost.numel()] = cost.flatten()
                    start += cost.numel()
        return flat

    def _mask_costs(
        self, cost: PointMaskCost, sets: Sequence[PredictionSet], image: int, targets: Targets, objects: Tensor
    ) -> Tensor:
        without = [prediction_set.describe() for prediction_set in sets if prediction_set.masks is None]
        if without or targets.masks is None:
            raise ValueError(
                f"matching by masks needs masks of objects and of all predictions; {', '.join(without) or 'objects'} "
                'have none: set model.masks.layers="all" with the groups, roles and branches that are matched'
            )
        return cost(sets, image, targets.masks, objects)

    def cost(self, logits: Sequence[Tensor], boxes: Tensor, labels: Tensor, gt_boxes: Tensor) -> Tensor:
        """Compute costs (n, T, Q) of n sets for an image.

        Args:
            logits: of each set, (Q, K).
            boxes: (n, Q, 4), of the queries.
            labels: (T,), of the objects.
            gt_boxes: (T, 4), of the objects.
        """
        cost = focal_cost(logits, labels, self.alpha, self.gamma).mul_(self.class_weight)
        return matching_cost(cost, boxes, gt_boxes, self.l1_weight, self.giou_weight, self.giou_eps)

    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        """Solve the assignment problems of all sets and images together. The queries of an image are in rising order.

        Raises:
            FloatingPointError: when a cost is not finite, naming the layer and the image.
        """
        problems = list(self._problems(predictions, targets))
        costs = _repeat(computed, problems, predictions, targets.counts)
        try:
            matched = linear_sum_assignment(costs, [(len(objects), queries) for _, _, queries, objects in problems])
        except UnusableCostError as error:
            index, image, _, objects = problems[error.problem]
            raise FloatingPointError(
                f"cannot match {predictions[index].describe()} in {targets.names[image]}: the matching cost is not "
                f"finite, of query {error.column} and object {int(objects[error.row])} first. Its logits or boxes are "
                "NaN or infinite; lower the learning rate, or look for broken annotations in that image"
            ) from None
        assignments = iter(_sort_pairs(matched, problems))
        by_place = {(index, image): next(assignments) for index, image, _, _ in problems}
        images = range(len(targets.labels))
        return [tuple(by_place[index, image] for image in images) for index in range(len(predictions))]

    def _problems(self, predictions: Sequence[PredictionSet], targets: Targets) -> Iterator[Problem]:
        """Yield the problems in the order of the costs."""
        of_set = [self.copies.of_images(each, targets.counts) for each in predictions]
        for indices in group_by_size(predictions):
            num_queries = predictions[indices[0]].boxes.shape[1]
            for image, count in enumerate(targets.counts):
                for index in indices:
                    yield index, image, num_queries, torch.arange(count).repeat(of_set[index][image])


def _sort_pairs(matched: Sequence[Tensor], problems: Sequence[Problem]) -> Iterator[Assignment]:
    """Yield the pairs of each problem by rising query, without unmatched objects; all problems are sorted at once."""
    if not problems:
        return
    queries, objects = torch.cat(list(matched)), torch.cat([objects for *_, objects in problems])
    sizes = [(len(rows), num_queries) for _, _, num_queries, rows in problems]
    problem = torch.repeat_interleave(torch.tensor([rows for rows, _ in sizes]))
    order = (problem * (1 + max(columns for _, columns in sizes)) + queries).argsort()
    order = order[queries[order] >= 0]
    lengths = [min(size) for size in sizes]
    pairs = zip(queries[order].split(lengths), objects[order].split(lengths), strict=True)
    for problem_queries, problem_objects in pairs:
        yield Assignment(queries=problem_queries, objects=problem_objects)


def _repeat(
    computed: Sequence[Tensor],
    problems: Sequence[Problem],
    predictions: Sequence[PredictionSet],
    counts: Sequence[int],
) -> Tensor:
    """Join all costs, with the rows of the objects repeated as often as each problem has them."""
    if all(len(objects) == counts[image] for _, image, _, objects in problems):
        return computed[0] if len(computed) == 1 else torch.cat(list(computed))
    rows = []
    for flat, indices in zip(computed, group_by_size(predictions), strict=True):
        num_queries = predictions[indices[0]].boxes.shape[1]
        pieces = flat.split([len(indices) * count * num_queries for count in counts])
        for piece, count in zip(pieces, counts, strict=True):
            rows += piece.view(len(indices), count, num_queries).unbind()
    return torch.cat([costs[objects].flatten() for costs, (*_, objects) in zip(rows, problems, strict=True)])
