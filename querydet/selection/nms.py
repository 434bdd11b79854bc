"""Initial queries that do not cover each other: non-maximum suppression within each level.

DETA (arXiv 2212.06137): one-to-many assignment of proposals makes neighbouring tokens score alike, so that
the best of them alone would be many copies of a few boxes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import nms

from querydet.boxes import cxcywh_to_xyxy
from querydet.queries.position import BoxEmbedding
from querydet.selection.content import LearnedContent, ProjectedFeatures
from querydet.selection.proposals import ProposalHead
from querydet.selection.topk import TopKSelection
from querydet.structures import Proposals


class NMSSelection(TopKSelection):
    """The best proposals that are left after suppression in their level, with room for every level.

    Everything but :meth:`select` is that of :class:`TopKSelection`. Where fewer proposals are left than queries are
    wanted, as on small images, the best-scored ones are taken without suppression.

    Args:
        num_queries, proposals, content, box_embedding, objectness, usable_only: see :class:`TopKSelection`.
        iou_threshold: a proposal is dropped when it overlaps a better one of its level by more.
        max_candidates: only that many best proposals of a level take part, or all of a smaller level. The released code
            fills up smaller levels with arbitrary tokens of others instead, and cannot run on fewer tokens than that.
        level_share: each level's best proposals come first, that many of each; the rest is filled by score alone. None:
            ``num_queries // levels`` (released code). 0: by score alone (paper).

    Raises:
        ValueError: for a threshold outside [0, 1], no candidates, or a negative share.
    """

    def __init__(
        self,
        *,
        num_queries: int,
        proposals: ProposalHead,
        content: LearnedContent | ProjectedFeatures | None = None,
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
        """Indices (B, num_queries) of the selected tokens, best first.

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


# An operator, because how many boxes are left depends on their values: a model on the meta device, whose tensors have
# none, can still be counted, and a compiled one has one break-free call here.
@torch.library.custom_op("querydet::select_by_level", mutates_args=())
def select_by_level(
    scores: Tensor,
    boxes_xyxy: Tensor,
    level_sizes: Sequence[int],
    num_queries: int,
    share: int,
    max_candidates: int,
    iou_threshold: float,
) -> Tensor:
    """Select tokens by level-wise suppression, see :class:`NMSSelection`.

    Args:
        scores: (B, S); tokens of minus infinity take no place from others.
        boxes_xyxy: (B, S, 4).
        level_sizes: tokens of each level; they add up to S.
        num_queries: Q, at most S.
        share: places reserved for each level.
        max_candidates: of each level.
        iou_threshold: above which the lower-scored of two boxes of a level is dropped.

    Returns:
        (B, Q) int64, by falling score.
    """
    level = torch.arange(len(level_sizes), device=scores.device)
    level = level.repeat_interleave(torch.tensor(level_sizes, device=scores.device), output_size=scores.shape[1])
    selected = []
    for image_scores, image_boxes in zip(scores, boxes_xyxy, strict=True):
        kept = _suppress(image_scores, image_boxes, level_sizes, max_candidates, iou_threshold)
        if len(kept) < num_queries:
            kept = image_scores.topk(num_queries).indices
        selected.append(_share_places(kept, level[kept], len(level_sizes), num_queries, share))
    return torch.stack(selected)


@select_by_level.register_fake
def _(
    scores: Tensor,
    boxes_xyxy: Tensor,
    level_sizes: Sequence[int],
    num_queries: int,
    share: int,
    max_candidates: int,
    iou_threshold: float,
) -> Tensor:
    return scores.new_empty((len(scores), num_queries), dtype=torch.int64)


def _suppress(
    scores: Tensor, boxes_xyxy: Tensor, level_sizes: Sequence[int], max_candidates: int, iou_threshold: float
) -> Tensor:
    """The tokens of an image that are left in any level, by falling score."""
    kept = []
    start = 0
    for size in level_sizes:
        candidates = start + scores[start : start + size].topk(min(max_candidates, size)).indices
        # level by level: one call with shifted boxes would round their overlaps
        kept.append(candidates[nms(boxes_xyxy[candidates], scores[candidates], iou_threshold)])
        start += size
    left = torch.cat(kept)
    left = left[scores[left] > -torch.inf]
    return left[scores[left].argsort(descending=True, stable=True)]


def _share_places(kept: Tensor, level: Tensor, num_levels: int, num_queries: int, share: int) -> Tensor:
    """The first tokens of each level up to its share, and the first others, in the order in which they come.

    Args:
        kept: (n,) tokens, at least Q.
        level: (n,) of each.
        num_levels: L.
        num_queries: Q.
        share: places of each level.

    Returns:
        (Q,).
    """
    one_hot = level[:, None] == torch.arange(num_levels, device=level.device)
    rank = one_hot.cumsum(0).gather(1, level[:, None])[:, 0]  # within the level, from 1
    first = rank <= share
    first &= first.cumsum(0) <= num_queries
    rest = (~first).cumsum(0) <= num_queries - first.sum()
    # ranked like this the wanted tokens come first, and their number is known without asking the device
    return kept[(first | rest).byte().argsort(descending=True, stable=True)[:num_queries]]
