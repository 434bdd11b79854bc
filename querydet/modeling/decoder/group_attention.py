"""Self-attention of query groups: which queries may attend to which, computed without the pairs that are blocked.

Groups of training must not change the result of the primary queries. A group therefore attends only to itself and to
the groups that it names in `visible_groups`: denoising queries may attend to matching queries, never the other way
round (DN-DETR, arXiv 2203.01305, section 4.4: without the mask AP falls from 43.4 to 24.0).

Groups of which one sees the other form a *set*. Queries of different sets never attend to each other, so that each set
is computed separately. Neighbouring sets of equal shape are folded into the batch (Group DETR, arXiv 2207.13085,
algorithm 1). Within a set, queries that see all of a group need no mask, and only denoising queries have one. The
result equals that of a mask over all queries, and takes less time and memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from querydet.structures import Blocks, QueryGroup
from querydet.utils.transfer import send

Attend = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Update = Callable[[Tensor, Tensor, "AttentionPlan"], Tensor]


@dataclass(frozen=True, slots=True)
class SetRows:
    """Neighbouring queries of a set that attend to the same keys."""

    rows: slice
    keys: slice  # of the same set
    visible: Tensor | None  # (n, m) or (B, n, m) bool, True where the row may attend to the key; None: everywhere


@dataclass(frozen=True, slots=True)
class FoldedSets:
    """Neighbouring sets of queries with equal lengths and an equal mask."""

    start: int
    stop: int
    count: int  # number of sets
    rows: tuple[SetRows, ...]  # of each set; together they cover it
    groups: tuple[QueryGroup, ...]  # of the first set, which starts at 0


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """How the self-attention of a batch of queries is computed."""

    runs: tuple[FoldedSets, ...]  # one after the other; together they cover all queries

    def update(self, update: Update, content: Tensor, position: Tensor) -> Tensor:
        """Return the content (B, Q, C) of all queries after their self-attention.

        Args:
            update: makes it from contents, positions and a plan, with residual connection and norm.
            content: (B, Q, C).
            position: (B, Q, C), positional queries.
        """
        return update(content, position, self)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0) -> Tensor:
        """Return the attention (B, M, Q, D) of heads: the values that each query attends to, mixed.

        Args:
            query: (B, M, Q, D).
            key: (B, M, Q, D).
            value: (B, M, Q, D).
            dropout: probability of dropping an attention weight.
        """
        mixed = [_mix_folded(run, query, key, value, dropout) for run in self.runs]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=2)

    def apply(self, attend: Attend, query: Tensor, value: Tensor) -> Tensor:
        """Attend within each set, by an attention that takes a mask.

        Args:
            attend: self-attention of n queries (N, n, C) with values (N, n, C), for N sets of all images, and blocked
                pairs (n, n), or (N, n, n) where denoising groups of images differ, or None.
            query: (B, Q, C), used as queries and keys.
            value: (B, Q, C).

        Returns:
            The result (B, Q, C) of the attention.
        """
        parts = [
            _attend_folded(attend, run, query[:, run.start : run.stop], value[:, run.start : run.stop])
            for run in self.runs
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _mix_folded(run: FoldedSets, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    batch = query.shape[0]  # not len(), which would fix it in exported programs
    query, key, value = (
        heads[:, :, run.start : run.stop].unflatten(2, (run.count, -1)).transpose(1, 2).flatten(0, 1)
        for heads in (query, key, value)
    )
    mixed = [
        F.scaled_dot_product_attention(
            query[:, :, part.rows],
            key[:, :, part.keys],
            value[:, :, part.keys],
            attn_mask=_for_sets(part.visible, run.count, heads=True),
            dropout_p=dropout,
        )
        for part in run.rows
    ]
    together = mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=2)
    return together.unflatten(0, (batch, run.count)).transpose(1, 2).flatten(2, 3)


def _attend_folded(attend: Attend, run: FoldedSets, query: Tensor, value: Tensor) -> Tensor:
    batch, length, width = query.shape
    folded = (batch * run.count, length // run.count, width)
    blocked = _for_sets(blocked_pairs(run.groups, query.device), run.count)
    return attend(query.reshape(folded), value.reshape(folded), blocked).reshape(batch, length, width)


def _for_sets(mask: Tensor | None, count: int, heads: bool = False) -> Tensor | None:
    """Repeat a mask of each image, (B, n, m), for its sets; with a dimension for heads. Others are returned as is."""
    if mask is None or mask.dim() == 2:
        return mask
    mask = mask.repeat_interleave(count, 0) if count > 1 else mask
    return mask[:, None] if heads else mask


def plan_attention(groups: Sequence[QueryGroup], device: torch.device) -> AttentionPlan:
    """Split a batch of query groups into sets, and fold neighbouring sets of equal shape.

    Args:
        groups: consecutive groups that cover all queries; groups of one set are neighbours.
        device: device of the masks.

    Raises:
        ValueError: when a group sees one that does not exist, or that other groups separate from it.
    """
    runs = []
    for _, run in groupby(_split_sets([group for group in groups if len(group)]), key=_shape):
        sets = list(run)
        start = sets[0][0].start
        first = tuple(group.moved(group.start - start) for group in sets[0])
        runs.append(FoldedSets(start, sets[-1][-1].stop, len(sets), _plan_rows(first, device), first))
    return AttentionPlan(tuple(runs))


def _split_sets(groups: list[QueryGroup]) -> list[list[QueryGroup]]:
    names = {group.name for group in groups}
    for group in groups:
        for name in set(group.visible_groups) - names:
            raise ValueError(f"query group '{group.name}' sees '{name}', but the groups are {sorted(names)}")
    sets: list[list[QueryGroup]] = []
    for group in groups:
        if sets and any(group.name in other.visible_groups or other.name in group.visible_groups for other in sets[-1]):
            sets[-1].append(group)
        else:
            sets.append([group])
    for neighbours in sets:
        outside = {name for group in neighbours for name in group.visible_groups} - {group.name for group in neighbours}
        if outside:
            raise ValueError(
                f"query groups {[group.name for group in neighbours]} see {sorted(outside)}, from which other groups "
                "separate them: groups that see each other must be neighbours"
            )
    return sets


def _shape(groups: list[QueryGroup]) -> tuple[object, ...]:
    """Describe a set by lengths, blocks and visible groups, which are equal for sets that can be folded."""
    by_name = {group.name: index for index, group in enumerate(groups)}
    return tuple(
        (len(group), group.blocks, tuple(sorted(by_name[name] for name in group.visible_groups if name in by_name)))
        for group in groups
    )


def _plan_rows(groups: tuple[QueryGroup, ...], device: torch.device) -> tuple[SetRows, ...]:
    """Find the keys of all rows of a set, and join neighbouring groups that see all of the same keys."""
    blocked = blocked_pairs(groups, device) if len(groups) > 1 or groups[0].blocks else None
    rows: list[SetRows] = []
    for group in groups:
        seen = [other for other in groups if other is group or other.name in group.visible_groups]
        keys = slice(seen[0].start, seen[-1].stop)
        masked = group.blocks is not None or sum(map(len, seen)) < keys.stop - keys.start
        visible = ~blocked[..., group.rows, keys] if masked and blocked is not None else None
        if rows and visible is None and rows[-1].visible is None and rows[-1].keys == keys:
            rows[-1] = SetRows(slice(rows[-1].rows.start, group.stop), keys, None)
        else:
            rows.append(SetRows(group.rows, keys, visible))
    return tuple(rows)


def blocked_pairs(groups: tuple[QueryGroup, ...], device: torch.device) -> Tensor | None:
    """Make the attention mask of groups of queries.

    Args:
        groups: consecutive groups that cover all queries.
        device: device of the mask.

    Returns:
        (Q, Q) bool, True where the row may not attend to the column, or (B, Q, Q) where the blocks of images differ;
        None where nothing is blocked.
    """
    groups = tuple(group for group in groups if len(group))
    if len(groups) <= 1 and all(group.blocks is None for group in groups):
        return None
    by_name = {group.name: group for group in groups}
    total = groups[-1].stop
    own = {group.name: _outside_own_block(group, device) for group in groups}
    blocked = torch.ones(max(map(len, own.values())), total, total, dtype=torch.bool, device=device)
    for group in groups:
        blocked[:, group.rows, group.rows] = own[group.name]
        for name in group.visible_groups:
            blocked[:, group.rows, by_name[name].rows] = False
    return blocked[0] if len(blocked) == 1 else blocked


def _outside_own_block(group: QueryGroup, device: torch.device) -> Tensor:
    """Return (B, n, n) bool, True where two of the n queries of a group lie in different blocks; B = 1: in no image.

    Queries behind the last block are one block of their own.
    """
    blocks = (Blocks(1, len(group)),) if group.blocks is None else group.blocks
    if len(set(blocks)) == 1:
        blocks = blocks[:1]
    ends, sizes = send(
        torch.tensor([(each.count * each.size, max(each.size, 1)) for each in blocks]).T.contiguous(), device
    ).unbind()
    query = torch.arange(len(group), device=device)
    block = torch.where(query < ends[:, None], query // sizes[:, None], -1)
    return block[:, :, None] != block[:, None, :]
