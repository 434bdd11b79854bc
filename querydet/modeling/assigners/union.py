"""One-to-many assignment as MS-DETR writes it (arXiv 2401.03989, section 3.2): best queries and one-to-one match.

Different from the released code, `querydet.modeling.assigners.OneToManyAssigner`, objects choose independently of each
other: no query is forced, and no limit but their own K holds.
"""

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from querydet.modeling.assigners.host import HostAssigner, group_by_size
from querydet.modeling.assigners.one_to_many import OneToManyAssigner, one_to_one_predictions
from querydet.structures import Assignment, PredictionSet, Targets


class UnionAssigner(OneToManyAssigner):
    """Assigns to each object its K best queries, without those below a threshold, and its one-to-one match.

    A query may serve several objects, in the union too, which adds a pair and takes none away. Its box is then trained
    towards all of them, and its class towards that of the object that it has the highest score for, of which the paper
    says nothing.

    Args:
        alpha: weight of the class in the score; the IoU has the rest. 0.4 is best in the paper's figure 5.
        threshold: lowest score of a pair that is no one-to-one match; the paper's tau.
        max_queries: largest number of queries of an object, without its match; the paper's K.
        merge_with: assigner of the one-to-one predictions of the same layer.

    Raises:
        ValueError: when a number is out of its range.
    """

    def __init__(
        self, *, alpha: float = 0.4, threshold: float = 0.4, max_queries: int = 6, merge_with: HostAssigner
    ) -> None:
        super().__init__(
            alpha=alpha,
            threshold=threshold,
            max_queries=max_queries,
            forced=False,
            positive_fraction=None,
            merge_with=merge_with,
        )
        self.match = merge_with
        self.threshold = threshold

    def compute(self, predictions: Sequence[PredictionSet], targets: Targets) -> tuple[Tensor, ...]:
        """Compute the scores (n, T, Q) of each n sets of equal size, for each image, and the input of `merge_with`.

        All scores are needed on the host, which finds the one-to-one match whose score decides about a class.

        Raises:
            ValueError: the predictions do not carry their one-to-one predictions.
        """
        scores = []
        for indices in group_by_size(predictions):
            for image, (labels, gt_boxes) in enumerate(zip(targets.labels, targets.boxes, strict=True)):
                boxes = torch.stack([predictions[index].boxes[image] for index in indices])
                logits = [predictions[index].logits[image] for index in indices]
                scores.append(self.scores(logits, boxes, labels, gt_boxes))
        return (*scores, *self.match.compute(one_to_one_predictions(predictions), targets))

    def assign(
        self, computed: Sequence[Tensor], predictions: Sequence[PredictionSet], targets: Targets
    ) -> list[tuple[Assignment, ...]]:
        """Assign the queries of each image; pairs are ordered by rising score."""
        remaining = iter(computed)
        scores: dict[int, list[Tensor]] = {}
        for indices in group_by_size(predictions):
            by_image = list(islice(remaining, len(targets.labels)))
            scores |= {index: [of_sets[row] for of_sets in by_image] for row, index in enumerate(indices)}
        matched = self.match.assign(list(remaining), one_to_one_predictions(predictions), targets)
        return [
            tuple(self._unite(*pair) for pair in zip(scores[index], images, strict=True))
            for index, images in enumerate(matched)
        ]

    def _unite(self, scores: Tensor, match: Assignment) -> Assignment:
        best = scores.topk(min(self.max_queries, scores.shape[1]), dim=1)
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(1, best.indices, best.values >= self.threshold)
        chosen[match.objects, match.queries] = True
        objects, queries = chosen.nonzero(as_tuple=True)
        order = scores[objects, queries].argsort(stable=True)  # the last pair of a query decides its class
        return Assignment(queries=queries[order], objects=objects[order])
