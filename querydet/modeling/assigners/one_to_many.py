"""One-to-many assignment by class and box together (MS-DETR, arXiv 2401.03989, section 3.2).

The score of a query for an object is `alpha * p + (1 - alpha) * IoU` with p the probability of the object's class.
The rules from scores to pairs are those of the released code, in `querydet.modeling.assigners.ranking`. Paper and
code
differ: the paper's best alpha is 0.4 (figure 5c), the code's is 0.3; the paper gives an object its best K queries above
a threshold and adds its one-to-one match, the code counts positives first, forces the best query of each object, keeps
a random quarter of the queries at most, and leaves the union out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from querydet.modeling.assigners.host import HostAssigner, group_by_shape
from querydet.modeling.assigners.ranking import Ranking, ThresholdMatcher, keep_random
from querydet.modeling.boxes import box_iou, cxcywh_to_xyxy
from querydet.structures import Assignment, PredictionSet, Targets
from querydet.traits import trait


class OneToManyAssigner(HostAssigner):
    """Gives each object up to K queries.

    A query may serve two objects: its boxes then count for both, and its class is that of the object that it scores
    higher for.

    Args:
        alpha: weight of the class in the score; the IoU has the rest.
        threshold: score from which a query is positive (tau).
        max_queries: the most queries that an object may get (K).
        forced: whether the best query of each object is positive whatever its score (released code).
        positive_fraction: at most this part of the queries, and at least one, is positive, drawn at random beyond;
            0.25 in the released code. None: no limit, and nothing is random.
        merge_with: also give an object the query that this assigner gives it at the one-to-one read-out of the same
            layer, unless that query serves another object already (the paper's union; off in the released code). Each
            query then serves one object. None: no union.

    Raises:
        ValueError: when a number is out of its range.
    """

    one_to_one = False

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        threshold: float = 0.4,
        max_queries: int = 6,
        forced: bool = True,
        positive_fraction: float | None = 0.25,
        merge_with: HostAssigner | None = None,
    ) -> None:
        if not 0 <= alpha <= 1 or max_queries < 1:
            raise ValueError(f"alpha must lie in [0, 1] and max_queries be at least 1; found {alpha} and {max_queries}")
        if positive_fraction is not None and not 0 < positive_fraction <= 1:
            raise ValueError(f"positive_fraction must lie in (0, 1], or be None; found {positive_fraction}")
        self.alpha = alpha
        self.matcher = ThresholdMatcher(threshold=threshold, forced=forced)
        self.max_queries = max_queries
        self.positive_fraction = positive_fraction
        self.merge_with = merge_with

    @property
    def needs_one_to_one_branch(self) -> bool:
        """True with `merge_with`."""
        return self.merge_with is not None

    @property
    def compares_start_boxes(self) -> bool:
        """True where `merge_with` compares the boxes that queries start from."""
        return trait(self.merge_with, "compares_start_boxes")

    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        """The rankings of all sets: of sets of the same size together, image by image; then what the union measures.

        Raises:
            ValueError: when a union is wanted and the predictions do not know their one-to-one read-out.
        """
        computed: list[Tensor] = []
        for numbers in group_by_shape(predictions):
            sets = [predictions[number] for number in numbers]
            for image, (labels, gt_boxes) in enumerate(zip(targets.labels, targets.boxes, strict=True)):
                boxes = torch.stack([each.boxes[image] for each in sets])
                scores = self.scores([each.logits[image] for each in sets], boxes, labels, gt_boxes)
                computed += Ranking.of(scores, self.matcher, self.max_queries).tensors()
        if self.merge_with is not None:
            computed += self.merge_with.compute(_one_to_one(predictions), targets)
        return tuple(computed)

    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        """The queries of each image, by rising score; with `merge_with`, by rising query."""
        left = iter(computed)
        found: dict[int, tuple[Assignment, ...]] = {}
        for numbers in group_by_shape(predictions):
            images = [Ranking(next(left), next(left), next(left), next(left)).unbind() for _ in targets.labels]
            for number, *rankings in zip(numbers, *images, strict=True):
                each = predictions[number]
                found[number] = tuple(
                    self._choose(ranking, each, targets, image) for image, ranking in enumerate(rankings)
                )
        many = [found[number] for number in range(len(predictions))]
        if self.merge_with is None:
            return many
        first = self.merge_with.assign(list(left), _one_to_one(predictions), targets)
        return [
            tuple(merge(one, other, each.logits.shape[1]) for one, other in zip(ones, others, strict=True))
            for ones, others, each in zip(first, many, predictions, strict=True)
        ]

    def scores(self, logits: Sequence[Tensor], boxes: Tensor, labels: Tensor, gt_boxes: Tensor) -> Tensor:
        """Scores (n, T, Q) in [0, 1] of n sets and an image.

        Args:
            logits: n of (Q, K).
            boxes: (n, Q, 4).
            labels: (T,).
            gt_boxes: (T, 4).
        """
        probability = torch.stack([each[:, labels] for each in logits]).sigmoid().transpose(-1, -2)
        iou = box_iou(cxcywh_to_xyxy(gt_boxes)[:, None], cxcywh_to_xyxy(boxes)[:, None])
        return self.alpha * probability + (1 - self.alpha) * iou

    def cap(self, positive: Tensor, predictions: PredictionSet, targets: Targets, image: int) -> Tensor:
        """Which of the positives (Q,) bool of an image remain."""
        if self.positive_fraction is None:
            return positive
        limit = max(1, int(self.positive_fraction * len(positive)))
        return keep_random(positive, limit, targets.seeds[image], turn=predictions.layer)

    def _choose(self, ranking: Ranking, predictions: PredictionSet, targets: Targets, image: int) -> Assignment:
        positive = ranking.label == 1
        if not ranking.is_empty:
            positive = self.cap(positive, predictions, targets, image)
        queries, objects, scores = ranking.choose(positive)
        order = scores.argsort(stable=True)  # the last pair of a query decides its class
        return Assignment(queries=queries[order], objects=objects[order])


def _one_to_one(predictions: Sequence[PredictionSet]) -> list[PredictionSet]:
    found = []
    for each in predictions:
        if each.one_to_one is None:
            raise ValueError(
                f"{each.describe()} have no one-to-one read-out to take the union with: use this assigner in a "
                "supervision rule with branch='one_to_many', or set merge_with=None"
            )
        found.append(each.one_to_one)
    return found


def merge(first: Assignment, last: Assignment, num_queries: int) -> Assignment:
    """The union of two assignments, with one object for each query: that of its last pair, by rising query."""
    queries, objects = torch.cat([first.queries, last.queries]), torch.cat([first.objects, last.objects])
    place = torch.arange(1, len(queries) + 1, device=queries.device)
    latest = place.new_zeros(num_queries).scatter_reduce(0, queries, place, "amax")
    (matched,) = latest.nonzero(as_tuple=True)
    return Assignment(queries=matched, objects=objects[latest[matched] - 1])
