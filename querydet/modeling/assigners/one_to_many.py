"""One-to-many assignment by class and box together (MS-DETR, arXiv 2401.03989, section 3.2).

The score of a query for an object is `alpha * p + (1 - alpha) * IoU` with p the probability of the object's class.
The rules from scores to pairs are those of the released code, in `querydet.modeling.assigners.ranking`. Paper and code
differ. The paper's best alpha is 0.4 (figure 5c), the code has 0.3. The paper assigns to an object its best queries
above a threshold, up to a limit, and adds its one-to-one match. The code counts the positives first, forces the best
query of each object to be positive, keeps at most a random quarter of the queries, and leaves the union out.
"""

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from querydet.modeling.assigners.host import HostAssigner, group_by_size
from querydet.modeling.assigners.ranking import Ranking, ThresholdMatcher, keep_random
from querydet.modeling.boxes import box_iou, cxcywh_to_xyxy
from querydet.structures import Assignment, PredictionSet, Targets
from querydet.traits import trait


class OneToManyAssigner(HostAssigner):
    """Assigns several queries to each object.

    A query may serve two objects: its box is then trained towards both. A loss with one class for a query takes that of
    the pair that is listed last, see `order`.

    Args:
        alpha: weight of the class in the score; the IoU has the rest.
        threshold: lowest score of a positive query; the paper's tau.
        max_queries: largest number of queries of an object; the paper's K.
        forced: whether the best query of each object is positive with any score (released code).
        positive_fraction: largest part of the queries that is positive, at least one query; positives beyond are
            dropped at random. 0.25 in the released code. None: no limit, and nothing is random.
        positive_limit: largest number of positive queries, beside `positive_fraction`; 75 in the released code of
            DAC-DETR, whatever the number of queries. None: no limit.
        iou_of: the boxes whose IoU the score has: "own", or "one_to_one", those of the one-to-one predictions of the
            same queries (released code of DAC-DETR).
        order: of the pairs: by rising "score", so that the last pair of a query has its highest score, or by "object",
            and then by falling score (released code of DAC-DETR, whose class loss gives a query all of its classes).
            Of no effect with `merge_with`.
        merge_with: assigner of the one-to-one predictions of the same layer. An object also gets the query that this
            assigner gives it, unless that query serves another object already (the paper's union; off in the released
            code). Each query then serves one object. None: no union.

    Raises:
        ValueError: when a number is out of its range.
    """

    one_to_one = False
    reads_boxes = True

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        threshold: float = 0.4,
        max_queries: int = 6,
        forced: bool = True,
        positive_fraction: float | None = 0.25,
        positive_limit: int | None = None,
        iou_of: str = "own",
        order: str = "score",
        merge_with: HostAssigner | None = None,
    ) -> None:
        if not 0 <= alpha <= 1 or max_queries < 1:
            raise ValueError(f"alpha must lie in [0, 1] and max_queries be at least 1; found {alpha} and {max_queries}")
        if positive_fraction is not None and not 0 < positive_fraction <= 1:
            raise ValueError(f"positive_fraction must lie in (0, 1], or be None; found {positive_fraction}")
        if positive_limit is not None and positive_limit < 1:
            raise ValueError(f"positive_limit must be at least 1, or be None; found {positive_limit}")
        if iou_of not in ("own", "one_to_one") or order not in ("score", "object"):
            raise ValueError(
                f"iou_of must be 'own' or 'one_to_one', and order 'score' or 'object'; found {iou_of!r} and {order!r}"
            )
        self.alpha = alpha
        self.positive_limit, self.iou_of, self.order = positive_limit, iou_of, order
        self.matcher = ThresholdMatcher(threshold=threshold, forced=forced)
        self.max_queries = max_queries
        self.positive_fraction = positive_fraction
        self.merge_with = merge_with

    @property
    def needs_one_to_one_branch(self) -> bool:
        """True with `merge_with`, and where the IoU is that of one-to-one predictions."""
        return self.merge_with is not None or self.iou_of == "one_to_one"

    @property
    def compares_start_boxes(self) -> bool:
        """True where `merge_with` compares the boxes that queries start from."""
        return trait(self.merge_with, "compares_start_boxes")

    @property
    def reads_masks(self) -> bool:
        """True where `merge_with` compares masks."""
        return bool(trait(self.merge_with, "reads_masks"))

    @property
    def num_layers(self) -> int | None:
        """The number of layers that `merge_with` is for; None: any."""
        return trait(self.merge_with, "num_layers")

    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        """Compute the rankings of all sets, those of sets of equal shape together, and the input of `merge_with`.

        Raises:
            ValueError: the predictions do not carry the one-to-one predictions that are needed.
        """
        computed: list[Tensor] = []
        compared = predictions if self.iou_of == "own" else one_to_one_predictions(predictions)
        for indices in group_by_size(predictions):
            sets = [predictions[index] for index in indices]
            for image, (labels, gt_boxes) in enumerate(zip(targets.labels, targets.boxes, strict=True)):
                boxes = torch.stack([compared[index].boxes[image] for index in indices])
                logits = [prediction_set.logits[image] for prediction_set in sets]
                scores = self.scores(logits, boxes, labels, gt_boxes)
                computed += Ranking.of(scores, self.matcher, self.max_queries).tensors()
        if self.merge_with is not None:
            computed += self.merge_with.compute(one_to_one_predictions(predictions), targets)
        return tuple(computed)

    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        """Assign the queries of each image; pairs are in the order of `order`, or with `merge_with` by rising query."""
        remaining = iter(computed)
        by_index: dict[int, tuple[Assignment, ...]] = {}
        for indices in group_by_size(predictions):
            by_image = [Ranking(*islice(remaining, 4)).unbind() for _ in targets.labels]
            for index, *of_set in zip(indices, *by_image, strict=True):
                by_index[index] = tuple(
                    self._choose(ranking, predictions[index], targets, image) for image, ranking in enumerate(of_set)
                )
        one_to_many = [by_index[index] for index in range(len(predictions))]
        if self.merge_with is None:
            return one_to_many
        one_to_one = self.merge_with.assign(list(remaining), one_to_one_predictions(predictions), targets)
        num_queries = [prediction_set.logits.shape[1] for prediction_set in predictions]
        return [
            tuple(merge(first, last, count) for first, last in zip(firsts, lasts, strict=True))
            for firsts, lasts, count in zip(one_to_one, one_to_many, num_queries, strict=True)
        ]

    def scores(self, logits: Sequence[Tensor], boxes: Tensor, labels: Tensor, gt_boxes: Tensor) -> Tensor:
        """Compute the scores (n, T, Q), in [0, 1], of n sets for an image.

        Args:
            logits: of each set, (Q, K).
            boxes: (n, Q, 4), of the queries.
            labels: (T,), of the objects.
            gt_boxes: (T, 4), of the objects.
        """
        probability = torch.stack([rows[:, labels] for rows in logits]).sigmoid().transpose(-1, -2)
        iou = box_iou(cxcywh_to_xyxy(gt_boxes)[:, None], cxcywh_to_xyxy(boxes)[:, None])
        return self.alpha * probability + (1 - self.alpha) * iou

    def cap(self, positive: Tensor, predictions: PredictionSet, targets: Targets, image: int) -> Tensor:
        """Return (Q,) bool, True for the positives of an image that remain within the limits."""
        limit = self.limit(len(positive))
        if limit is None:
            return positive
        return keep_random(positive, limit, targets.seeds[image], turn=predictions.layer)

    def limit(self, num_queries: int) -> int | None:
        """Return the largest number of positives among so many queries; None: any."""
        part = None if self.positive_fraction is None else max(1, int(self.positive_fraction * num_queries))
        return min((limit for limit in (part, self.positive_limit) if limit is not None), default=None)

    def _choose(self, ranking: Ranking, predictions: PredictionSet, targets: Targets, image: int) -> Assignment:
        positive = ranking.label == 1
        if not ranking.is_empty:
            positive = self.cap(positive, predictions, targets, image)
        queries, objects, scores = ranking.choose(positive)
        if self.order == "object":
            return Assignment(queries=queries, objects=objects)
        order = scores.argsort(stable=True)  # the last pair of a query decides its class
        return Assignment(queries=queries[order], objects=objects[order])


def one_to_one_predictions(predictions: Sequence[PredictionSet]) -> list[PredictionSet]:
    """Return the one-to-one predictions of the same queries and layers.

    Raises:
        ValueError: a set does not carry them.
    """
    one_to_one = []
    for prediction_set in predictions:
        if prediction_set.one_to_one is None:
            raise ValueError(
                f"{prediction_set.describe()} have no one-to-one predictions beside them: use this assigner in a "
                "supervision rule of another branch, or set merge_with=None and iou_of='own'"
            )
        one_to_one.append(prediction_set.one_to_one)
    return one_to_one


def merge(first: Assignment, last: Assignment, num_queries: int) -> Assignment:
    """Return the union of two assignments with one object for each query, that of its last pair; by rising query."""
    queries, objects = torch.cat([first.queries, last.queries]), torch.cat([first.objects, last.objects])
    pair = torch.arange(1, len(queries) + 1, device=queries.device)  # 0: none
    last_pair = pair.new_zeros(num_queries).scatter_reduce(0, queries, pair, "amax")
    (matched,) = last_pair.nonzero(as_tuple=True)
    return Assignment(queries=matched, objects=objects[last_pair[matched] - 1])
