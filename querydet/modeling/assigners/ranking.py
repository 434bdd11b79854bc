"""Pairs from scores of queries for objects, which the one-to-many assignments of MS-DETR and DETA share.

Scores are (T, Q) for an image; larger is better. Those of MS-DETR (arXiv 2401.03989, section 3.2) rate class and box,
those of DETA (arXiv 2212.06137) are the IoU. The released code of both has three steps:

1. Every query belongs to the object that it has the highest score for. It is *positive* if that score reaches a
   threshold, or if it is forced to be, as the best query of an object.
2. Where there are too many positives, a random part of them is kept.
3. An object with c positives of its own gets its min(c, max_queries) best queries *of all queries*: the positives only
   decide how many. So a query may serve two objects, and a forced query counts for the object of its own highest score.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from detectron2.modeling import matcher
from torch import Tensor

# from scores (T, Q) to the best object (Q,) of each query and its label (Q,), 1 for positive, 0 for not: Detectron2's
# `Matcher([threshold], [0, 1], allow_low_quality_matches=...)` is one, and so is OverlapMatcher
Matcher = Callable[[Tensor], tuple[Tensor, Tensor]]


class ThresholdMatcher:
    """Step 1 with at most one forced query for each object (MS-DETR).

    Detectron2's `Matcher` forces *all* queries that have an object's highest score, and waits for the device; this one
    does neither.

    Args:
        threshold: lowest score of a positive query.
        forced: whether the best query of each object is positive with any score.
    """

    def __init__(self, *, threshold: float, forced: bool = True) -> None:
        self.threshold = threshold
        self.forced = forced

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best object (Q,) of each query, and whether the query is positive (Q,), from scores (T, Q), T > 0.

        From scores (n, T, Q), both are those of n sets, (n, Q).
        """
        values, best = scores.max(dim=-2)
        positive = values >= self.threshold
        if self.forced:
            positive = positive.scatter(-1, scores.argmax(dim=-1), True)
        return best, positive


class OverlapMatcher(matcher.Matcher):
    """Detectron2's `Matcher`, with equal arguments and results, which never makes the host wait for the device."""

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best object (Q,) of each query and the query's label (Q,) int8, from scores (T, Q), T > 0."""
        values, best = scores.max(dim=0)
        labels = torch.ones_like(best, dtype=torch.int8)
        for label, low, high in zip(self.labels, self.thresholds[:-1], self.thresholds[1:], strict=True):
            labels = labels.masked_fill((values >= low) & (values < high), label)
        if self.allow_low_quality_matches:
            labels = labels.masked_fill((scores == scores.max(dim=1, keepdim=True).values).any(dim=0), 1)
        return best, labels


@dataclass(frozen=True, slots=True)
class Ranking:
    """The result of step 1, and the part of the scores that the later steps need; its shapes are known beforehand.

    It is that of an image in one set of queries, or in n sets, which adds a first dimension; `unbind` takes them apart.
    """

    best: Tensor  # (Q,) int64, the object that each query has the highest score for
    label: Tensor  # (Q,), the matcher's label of each query; 1: positive
    queries: Tensor  # (T, min(max_queries, Q)) int64, the best queries of each object by falling score
    scores: Tensor  # (T, min(max_queries, Q)), their scores

    @classmethod
    def of(cls, scores: Tensor, match: Matcher, max_queries: int) -> "Ranking":
        """Rank the queries of an image.

        Args:
            scores: (T, Q), or (n, T, Q) of n sets; T or Q may be 0.
            match: step 1.
            max_queries: largest number of queries of an object.
        """
        *sets, num_objects, num_queries = scores.shape
        if num_objects == 0 or num_queries == 0:
            zeros = torch.zeros(*sets, num_queries, dtype=torch.int64, device=scores.device)
            empty = scores.new_zeros(*sets, num_objects, 0)
            return cls(zeros, zeros, empty.long(), empty)
        best, label = match(scores)
        ranked = scores.topk(min(max_queries, num_queries), dim=-1)
        return cls(best, label, ranked.indices, ranked.values)

    def tensors(self) -> tuple[Tensor, ...]:
        """Return its four tensors, to be copied."""
        return self.best, self.label, self.queries, self.scores

    def unbind(self) -> "list[Ranking]":
        """Return the ranking of each set, from that of n sets."""
        return [Ranking(*tensors) for tensors in zip(*self.tensors(), strict=True)]

    @property
    def is_empty(self) -> bool:
        """True where there are no objects or no queries."""
        return self.queries.numel() == 0

    def choose(self, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the queries of each object of an image, step 3.

        Args:
            positive: (Q,) bool, the positives that step 2 keeps.

        Returns:
            Queries (n,) and objects (n,), int64, and their scores (n,), by rising object and then falling score.
        """
        counts = torch.zeros(len(self.queries), dtype=torch.int64, device=positive.device)
        if not self.is_empty:
            counts = counts.scatter_add(0, self.best, positive.long())
        chosen = torch.arange(self.queries.shape[1], device=positive.device) < counts[:, None]
        objects, rank = chosen.nonzero(as_tuple=True)  # their number is known only here: this waits for a device
        return self.queries[objects, rank], objects, self.scores[objects, rank]


def keep_random(positive: Tensor, limit: int, seed: int | None, turn: int = 0) -> Tensor:
    """Keep at most `limit` of the positives, drawn at random.

    They are drawn on the CPU from the seed of their image, so that the result depends neither on the device nor on the
    other images.

    Args:
        positive: (Q,) bool.
        limit: largest number to keep.
        seed: seed of the image's random draws; None: the default generator.
        turn: index of this draw among those of the image, such as that of the decoder layer.

    Returns:
        (Q,) bool, True for the positives to keep.
    """
    if limit >= len(positive):
        return positive
    if limit < 1:
        return torch.zeros_like(positive)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    priority = torch.rand(turn + 1, len(positive), generator=generator)[turn].to(positive.device)
    ranked = priority.masked_fill(~positive, -1).topk(limit).indices
    return torch.zeros_like(positive).index_fill(0, ranked, True) & positive
