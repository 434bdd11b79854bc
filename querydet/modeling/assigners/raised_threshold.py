"""Assignment by overlap with a threshold that each object raises (DETA, arXiv 2212.06137, equations 2 to 4).

This is the rule as the paper writes it. The released code, `querydet.modeling.assigners.IoUAssigner`, only counts the
queries of an object by it, and then gives the object as many of its best queries, whichever object these prefer.
"""

import torch
from torch import Tensor

from querydet.modeling.assigners.iou import IoUAssigner
from querydet.modeling.assigners.ranking import Ranking, keep_random
from querydet.structures import Assignment


class RaisedThresholdMatcher:
    """Marks the queries that are positive for the object that they overlap most.

    A query is positive where their overlap reaches both the threshold and the n-th highest overlap of the object with
    any query, or is the object's highest. It overlaps the object at all in any case: of an object that no query
    overlaps, the equation would make all queries positive.

    Args:
        threshold: lowest IoU of a positive query that is not the best of its object; the paper's tau.
        max_queries: the paper's n; None: objects do not raise the threshold (equation 3).
    """

    def __init__(self, *, threshold: float, max_queries: int | None) -> None:
        self.threshold = threshold
        self.max_queries = max_queries

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best object (Q,) of each query, and whether it is positive (Q,), from IoU (T, Q), T > 0, Q > 0."""
        values, best = scores.max(dim=0)
        lowest = torch.full_like(scores[:, 0], self.threshold)
        if self.max_queries is not None:
            lowest = lowest.maximum(scores.topk(min(self.max_queries, scores.shape[1]), dim=1).values[:, -1])
        highest = scores.max(dim=1).values
        return best, (values > 0) & ((values >= lowest[best]) | (values == highest[best]))


class RaisedThresholdAssigner(IoUAssigner):
    """Assigns each query to the object that its start box overlaps most, if the overlap is among the object's highest.

    So a query has one object, and an object at most `max_queries` queries, but for equal overlaps. An object whose best
    queries overlap another one more has fewer of them, or none.

    Args:
        threshold: lowest IoU of a pair that is not the best of its object; 0.7 in the first stage of the paper, 0.6 in
            the second.
        max_queries: number of overlaps of an object that its threshold rises to; 4 in the second stage of the paper.
            None: the threshold does not rise, as in the first stage.
        positive_fraction: largest part of the samples that have a pair; those beyond are dropped at random. The paper
            introduces the limit before the raised threshold; here it holds for what that leaves. None: no limit, and
            nothing is random.
        num_samples: number of samples that `positive_fraction` refers to; None: the number of queries.
        iou_eps: added to the union.

    Raises:
        ValueError: for a number out of its range.
    """

    def __init__(
        self,
        *,
        threshold: float,
        max_queries: int | None = 4,
        positive_fraction: float | None = None,
        num_samples: int | None = None,
        iou_eps: float = 0.0,
    ) -> None:
        super().__init__(
            matcher=RaisedThresholdMatcher(threshold=threshold, max_queries=max_queries),
            max_queries=1 if max_queries is None else max_queries,
            positive_fraction=positive_fraction,
            num_samples=num_samples,
            iou_eps=iou_eps,
        )

    def _choose(self, ranking: Ranking, seed: int | None) -> Assignment:
        positive = ranking.label == 1
        if self.positive_fraction is not None:
            num_samples = len(positive) if self.num_samples is None else self.num_samples
            positive = keep_random(positive, int(self.positive_fraction * num_samples), seed)
        (queries,) = positive.nonzero(as_tuple=True)
        return Assignment(queries=queries, objects=ranking.best[queries])
