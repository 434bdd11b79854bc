"""Which queries may attend to which.

Groups exist for training only; they must not change what the primary queries compute. A group therefore attends to
itself and to the groups that it names in ``sees``, and nothing else: denoising queries may look at matching queries,
never the other way round (DN-DETR, arXiv 2203.01305, section 4.3: without the mask AP falls from 43.4 to 24.0).
"""

import torch
from torch import Tensor

from querydet.structures import QueryGroup


def blocked_pairs(groups: tuple[QueryGroup, ...], device: torch.device) -> Tensor | None:
    """Attention mask of a batch of query groups.

    Args:
        groups: consecutive groups that cover all queries.
        device: where the mask is wanted.

    Returns:
        (Q, Q) bool, True where the row may not attend to the column; None when everything is visible.

    Raises:
        ValueError: when a group names a group that is not there.
    """
    groups = tuple(group for group in groups if len(group))
    if len(groups) <= 1 and all(group.block is None for group in groups):
        return None
    by_name = {group.name: group for group in groups}
    total = groups[-1].stop
    blocked = torch.ones(total, total, dtype=torch.bool, device=device)
    for group in groups:
        blocked[group.rows, group.rows] = _outside_own_block(group, device)
        for name in group.sees:
            if name not in by_name:
                raise ValueError(f"query group '{group.name}' sees '{name}', but the groups are {sorted(by_name)}")
            blocked[group.rows, by_name[name].rows] = False
    return blocked


def _outside_own_block(group: QueryGroup, device: torch.device) -> Tensor:
    """(n, n) bool, True where two queries of the group lie in different blocks."""
    block = torch.arange(len(group), device=device) // (group.block or len(group))
    return block[:, None] != block[None, :]
