"""From scores of queries for objects to pairs: the part that MS-DETR's and DETA's one-to-many assignments share.

T objects, Q queries of one image; scores are (T, Q), larger is better. MS-DETR (arXiv 2401.03989, section 3.2) scores
by class and box, DETA (arXiv 2212.06137) by the IoU alone. Released code of both:

1. every query belongs to the object that it scores best for; it is *positive* if that score reaches a threshold, or if
   it is forced, being the best query of an object;
2. where there are too many positives, a random part of them is kept;
3. an object with c positives of its own gets its min(c, K) best queries, *of all queries*: the positives only decide
   how many. A query may so serve two objects, and a forced query counts for the object that it itself scores best for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from detectron2.modeling import matcher
from torch import Tensor

# scores (T, Q) to the best object (Q,) of each query and its label (Q,), 1 for positive and 0 for not: Detectron2's
# `Matcher([threshold], [0, 1], allow_low_quality_matches=...)` is one, and so is OverlapMatcher
Matcher = Callable[[Tensor], tuple[Tensor, Tensor]]


class ThresholdMatcher:
    """Step 1 where at most one query is forced for each object (MS-DETR).

    Detectron2's `Matcher` forces *all* queries of an object's best score, however many share it, and waits for the
    device; this one does neither.

    Args:
        threshold: of the score.
        forced: whether the best query of each object is positive whatever its score.
    """

    def __init__(self, *, threshold: float, forced: bool = True) -> None:
        self.threshold = threshold
        self.forced = forced

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The best object (Q,) of each query, and whether the query is positive (Q,), from scores (T, Q), T > 0.

        Or those of n sets together, (n, Q), from scores (n, T, Q).
        """
        values, best = scores.max(dim=-2)
        positive = values >= self.threshold
        if self.forced:
            positive = positive.scatter(-1, scores.argmax(dim=-1), True)
        return best, positive


class OverlapMatcher(matcher.Matcher):
    """Detectron2's `Matcher`, with the same arguments and results, that never makes the host wait for the device."""

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The best object (Q,) of each query and the query's label (Q,) int8, from scores (T, Q), T > 0."""
        values, best = scores.max(dim=0)
        label = torch.ones_like(best, dtype=torch.int8)
        for number, low, high in zip(self.labels, self.thresholds[:-1], self.thresholds[1:], strict=True):
            label = label.masked_fill((values >= low) & (values < high), number)
        if self.allow_low_quality_matches:
            label = label.masked_fill((scores == scores.max(dim=1, keepdim=True).values).any(dim=0), 1)
        return best, label


@dataclass(frozen=True, slots=True)
class Ranking:
    """Step 1, and all that the later steps need of the scores; on the device its shape is known beforehand.

    Of one set of queries, or of n sets, which is a first dimension more; `unbind` takes them apart.
    """

    best: Tensor  # (Q,) int64, the object that each query scores best for
    label: Tensor  # (Q,) of the query, by the matcher; 1 is positive
    queries: Tensor  # (T, K) int64, the best queries of each object by falling score
    scores: Tensor  # (T, K), theirs

    @classmethod
    def of(cls, scores: Tensor, match: Matcher, max_queries: int) -> "Ranking":
        """From scores (T, Q) or (n, T, Q), T or Q may be 0, and K, the most queries that an object may get."""
        *sets, num_objects, num_queries = scores.shape
        if num_objects == 0 or num_queries == 0:
            nobody = torch.zeros(*sets, num_queries, dtype=torch.int64, device=scores.device)
            nothing = scores.new_zeros(*sets, num_objects, 0)
            return cls(nobody, nobody, nothing.long(), nothing)
        best, label = match(scores)
        ranked = scores.topk(min(max_queries, num_queries), dim=-1)
        return cls(best, label, ranked.indices, ranked.values)

    def tensors(self) -> tuple[Tensor, ...]:
        """What it consists of, for copying."""
        return self.best, self.label, self.queries, self.scores

    def unbind(self) -> "list[Ranking]":
        """Those of each set, from that of n sets."""
        return [Ranking(*each) for each in zip(*self.tensors(), strict=True)]

    @property
    def is_empty(self) -> bool:
        """Whether there are no objects or no queries."""
        return self.queries.numel() == 0

    def choose(self, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Step 3: the queries of each object of an image.

        Args:
            positive: (Q,) bool, what step 2 left of the positives.

        Returns:
            Queries (n,) and objects (n,), int64, and their scores (n,), by rising object and then falling score.
        """
        counts = torch.zeros(len(self.queries), dtype=torch.int64, device=positive.device)
        if not self.is_empty:
            counts = counts.scatter_add(0, self.best, positive.long())
        chosen = torch.arange(self.queries.shape[1], device=positive.device) < counts[:, None]
        objects, rank = chosen.nonzero(as_tuple=True)  # how many there are is known only now: a device is waited for
        return self.queries[objects, rank], objects, self.scores[objects, rank]


def keep_random(positive: Tensor, limit: int, seed: int | None, turn: int = 0) -> Tensor:
    """Keep at most `limit` of the positives, drawn at random.

    Drawn on the CPU from the image's own seed: what is kept depends neither on the device nor on the other images.

    Args:
        positive: (Q,) bool.
        limit: how many to keep at most.
        seed: of the image's random draws; None: the default generator.
        turn: distinguishes several draws of an image, such as those of the decoder layers.

    Returns:
        (Q,) bool.
    """
    if limit >= len(positive):
        return positive
    if limit < 1:
        return torch.zeros_like(positive)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    priority = torch.rand(turn + 1, len(positive), generator=generator)[turn].to(positive.device)
    ranked = priority.masked_fill(~positive, -1).topk(limit).indices
    return torch.zeros_like(positive).index_fill(0, ranked, True) & positive
