"""The one-to-many branch inside a decoder layer (MS-DETR, arXiv 2401.03989, section 3.3 and figure 4)."""

from dataclasses import replace

from torch import Tensor, nn

from querydet.modeling.layers import FeedForward
from querydet.structures import QueryGroup, Role

STEPS = ("self_attention", "cross_attention", "ffn")  # of a decoder layer


class OneToManyBranch(nn.Module):
    """The place in a decoder layer where one-to-many predictions branch off, and the queries that have them.

    Together with the order of the layer's steps, it selects one of the four placements of figure 4: (a) and (b) branch
    off after the feed-forward block, with self-attention or cross-attention first; (c), the released one, after the
    cross-attention that comes first; (d) after the self-attention that comes first.

    Args:
        after: step of the layer after which the branch starts: "self_attention", "cross_attention" or "ffn".
        ffn: feed-forward block of the branch (the "auxiliary FFN"), which inference never runs; None: none.
        extra_groups: whether extra groups of matching queries have the branch too, beside the primary group.

    Raises:
        ValueError: for an unknown step.
    """

    def __init__(self, *, after: str, ffn: FeedForward | None = None, extra_groups: bool = False) -> None:
        super().__init__()
        if after not in STEPS:
            raise ValueError(f"after must be one of {STEPS}, found {after!r}")
        self.after = after
        self.ffn = nn.Identity() if ffn is None else ffn
        self.extra_groups = extra_groups

    def groups_of(self, groups: tuple[QueryGroup, ...]) -> tuple[QueryGroup, ...]:
        """Select the groups of a batch that have the branch, which are never denoising groups.

        Where only the primary group has it, its one-to-many losses are not divided by the number of groups.
        """
        matching = tuple(group for group in groups if group.role is Role.MATCHING)
        return matching if self.extra_groups else (replace(matching[0], loss_divisor=1),)

    def forward(self, content: Tensor) -> Tensor:
        """Return the input (B, n, C) of the heads from the content (B, n, C) of the branch's n queries."""
        return self.ffn(content)
