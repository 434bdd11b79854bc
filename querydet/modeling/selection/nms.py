"""Initial queries from proposals that do not overlap much: non-maximum suppression within each level.

DETA (arXiv 2212.06137) trains proposals one to many, so that neighbouring tokens have similar scores; without
suppression, the best proposals would be many copies of a few boxes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from querydet.modeling.boxes import cxcywh_to_xyxy
from querydet.modeling.selection.content import BoxEmbedding
from querydet.modeling.selection.proposals import ProposalHead
from querydet.modeling.selection.topk import TopKSelection
from querydet.ops.suppression import suppress
from querydet.structures import Proposals


class NMSSelection(TopKSelection):
    """Selects the best proposals that remain after suppression in their level, with reserved places for every level.

    It differs from `TopKSelection` in `select`. Where fewer proposals remain than there are queries, as on small
    images, the proposals of the highest scores are selected without suppression.

    Args:
        num_queries, proposals, content, box_embedding, objectness, usable_only: see `TopKSelection`.
        iou_threshold: IoU with a better proposal of its level above which a proposal is dropped.
        max_candidates: largest number of proposals of a level that enter the suppression, the best ones. The released
            code fills up smaller levels with arbitrary tokens of others, and cannot run on fewer tokens than that.
        level_share: number of places that are reserved for each level's best proposals; the others are filled by score.
            None: `num_queries // levels` (released code). 0: all are filled by score (paper).

    Raises:
        ValueError: for a threshold outside [0, 1], no candidates, or a negative share.
    """

    suppresses = True

    def __init__(
        self,
        *,
        num_queries: int,
        proposals: ProposalHead,
        content: nn.Module | None = None,
        box_embedding: BoxEmbedding | None = None,
        objectness: bool = False,
        usable_only: bool = True,
        iou_threshold: float = 0.9,
        max_candidates: int = 1000,
        level_share: int | None = None,
    ) -> None:
        super().__init__(
            num_queries=num_queries,
            proposals=proposals,
            content=content,
            box_embedding=box_embedding,
            objectness=objectness,
            usable_only=usable_only,
        )
        if not 0 <= iou_threshold <= 1:
            raise ValueError(f"iou_threshold must be in [0, 1], found {iou_threshold}")
        if max_candidates < 1 or (level_share is not None and level_share < 0):
            raise ValueError(
                "max_candidates must be at least 1 and level_share not negative, found "
                f"{max_candidates} and {level_share}"
            )
        self.iou_threshold = iou_threshold
        self.max_candidates = max_candidates
        self.level_share = level_share

    def select(self, proposals: Proposals, num_queries: int) -> Tensor:
        """Return the indices (B, num_queries) of the selected tokens, best first.

        Raises:
            ValueError: when there are fewer tokens than queries.
        """
        self.check_tokens(proposals, num_queries)
        share = num_queries // len(proposals.level_sizes) if self.level_share is None else self.level_share
        return select_by_level(
            self.scores(proposals).detach(),
            cxcywh_to_xyxy(proposals.boxes_unsigmoid.detach().sigmoid()).clamp(0, 1),
            proposals.level_sizes,
            num_queries,
            share,
            self.max_candidates,
            self.iou_threshold,
        )


def select_by_level(
    scores: Tensor,
    boxes_xyxy: Tensor,
    level_sizes: Sequence[int],
    num_queries: int,
    share: int,
    max_candidates: int,
    iou_threshold: float,
) -> Tensor:
    """Select tokens by level-wise suppression, see `NMSSelection`.

    Args:
        scores: (B, S); a token of minus infinity suppresses no other.
        boxes_xyxy: (B, S, 4).
        level_sizes: number of tokens of each level; they add up to S.
        num_queries: Q, at most S.
        share: number of places that are reserved for each level.
        max_candidates: largest number of candidates of each level.
        iou_threshold: IoU above which the lower-scored of two boxes of a level is dropped.

    Returns:
        Tokens (B, Q) int64, by falling score.
    """
    tokens, candidate_scores = _candidates(scores, level_sizes, max_candidates)  # (B, L, n)
    batch, levels, _ = tokens.shape
    boxes = boxes_xyxy.gather(1, tokens.flatten(1)[..., None].expand(-1, -1, 4)).unflatten(1, tokens.shape[1:])
    kept = suppress(boxes.flatten(0, 1), candidate_scores.flatten(0, 1)[:, None], iou_threshold).view_as(tokens)
    order = candidate_scores.masked_fill(~kept, -torch.inf).flatten(1).argsort(dim=1, descending=True, stable=True)
    level_indices = torch.arange(levels, device=scores.device)
    level = level_indices[:, None].expand(batch, -1, tokens.shape[2]).flatten(1).gather(1, order)
    by_level = (level[:, None] == level_indices[:, None]) & kept.flatten(1).gather(1, order)[:, None]  # (B, L, L * n)
    selected = _share_places(by_level, num_queries, share)
    # sorted so that the selected ones come first: indexing by a mask would wait for the device, to know their number
    first = selected.int().argsort(dim=1, descending=True, stable=True)[:, :num_queries]
    selected_tokens = tokens.flatten(1).gather(1, order.gather(1, first))
    missing = scores.new_zeros(batch, num_queries - selected_tokens.shape[1], dtype=torch.int64)
    best = scores.topk(num_queries, dim=1).indices
    too_few = kept.flatten(1).sum(1, keepdim=True) < num_queries
    return torch.where(too_few, best, torch.cat([selected_tokens, missing], dim=1))


def _candidates(scores: Tensor, level_sizes: Sequence[int], max_candidates: int) -> tuple[Tensor, Tensor]:
    """Find the best tokens of each level, all levels at once.

    Args:
        scores: (B, S).
        level_sizes: number of tokens of each level.
        max_candidates: largest number of candidates of each level.

    Returns:
        Tokens (B, L, n) int64, rising, and their scores (B, L, n), with n candidates of the largest level. Smaller
        levels are filled up with scores of minus infinity.
    """
    indices = torch.arange(scores.shape[1], device=scores.device)
    table = pad_sequence(indices.split(list(level_sizes)), batch_first=True, padding_value=-1)  # (L, most tokens)
    padded = scores[:, table.clamp(min=0)].masked_fill(table < 0, -torch.inf)
    best = padded.topk(torch.sym_min(table.shape[1], max_candidates), dim=2).indices.sort(dim=2).values
    tokens = table.clamp(min=0).expand_as(padded).gather(2, best)
    return tokens, padded.gather(2, best)


def _share_places(kept: Tensor, num_queries: int, share: int) -> Tensor:
    """Select the first candidates of each level up to its share, and then the first others, in their order.

    Args:
        kept: (B, L, n) bool for n candidates of all levels, True for the level of a candidate that is not suppressed.
        num_queries: Q.
        share: number of places that are reserved for each level.

    Returns:
        (B, n) bool, True for Q candidates of each image, or for all that are not suppressed where there are fewer.
    """
    remaining = kept.any(1)
    rank = kept.int().cumsum(2)  # within the level, from 1
    first = (kept & (rank <= share)).any(1)
    first = first & (first.int().cumsum(1) <= num_queries)
    others = remaining & ~first
    return first | (others & (others.int().cumsum(1) <= num_queries - first.int().sum(1, keepdim=True)))
