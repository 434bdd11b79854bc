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

import torch
from torch import Tensor

# scores (T, Q) to the best object (Q,) of each query and its label (Q,), 1 for positive and 0 for not: Detectron2's
# ``Matcher([threshold], [0, 1], allow_low_quality_matches=...)`` is one
Matcher = Callable[[Tensor], tuple[Tensor, Tensor]]


class ThresholdMatcher:
    """Step 1 where at most one query is forced for each object (MS-DETR).

    Detectron2's ``Matcher`` forces *all* queries of an object's best score, however many share it, and waits for the
    device; this one does neither.

    Args:
        threshold: of the score.
        forced: whether the best query of each object is positive whatever its score.
    """

    def __init__(self, *, threshold: float, forced: bool = True) -> None:
        self.threshold = threshold
        self.forced = forced

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The best object (Q,) of each query, and whether the query is positive (Q,), from scores (T, Q), T > 0."""
        values, best = scores.max(dim=0)
        positive = values >= self.threshold
        if self.forced:
            positive = positive.index_fill(0, scores.argmax(dim=1), True)
        return best, positive


@torch.no_grad()
def select_pairs(
    scores: Tensor, *, matcher: Matcher, max_queries: int, cap: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Choose the queries of each object of an image.

    Args:
        scores: (T, Q), T or Q may be 0.
        matcher: step 1: threshold and forced queries.
        max_queries: K, the most queries that an object may get.
        cap: step 2: which of the positives (Q,) bool to keep, as a mask (Q,); None: all. See :func:`keep_random`.

    Returns:
        Queries (n,) and objects (n,), int64, by rising object and then falling score.
    """
    num_objects, num_queries = scores.shape
    if num_objects == 0 or num_queries == 0:
        empty = torch.zeros(0, dtype=torch.int64, device=scores.device)
        return empty, empty
    best, label = matcher(scores)
    positive = label == 1
    if cap is not None:
        positive = cap(positive)
    counts = torch.zeros(num_objects, dtype=torch.int64, device=scores.device)
    counts = counts.scatter_add(0, best, positive.long())
    ranked = scores.topk(min(max_queries, num_queries), dim=1).indices  # (T, K)
    chosen = torch.arange(ranked.shape[1], device=scores.device) < counts[:, None]
    objects, rank = chosen.nonzero(as_tuple=True)  # the one time that the host waits for the device
    return ranked[objects, rank], objects


def keep_random(positive: Tensor, limit: int, seed: int | None, turn: int = 0) -> Tensor:
    """Keep at most ``limit`` of the positives, drawn at random.

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
