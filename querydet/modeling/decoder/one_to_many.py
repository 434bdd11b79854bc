"""The one-to-many read-out inside a decoder layer (MS-DETR, arXiv 2401.03989, section 3.2 and figure 4)."""

from dataclasses import replace

from torch import Tensor, nn

from querydet.modeling.layers import FeedForward
from querydet.structures import QueryGroup, Role

STEPS = ("self_attention", "cross_attention", "ffn")  # of a decoder layer


class OneToManyBranch(nn.Module):
    """Where in a decoder layer the one-to-many predictions are read, and for which queries.

    Together with the order of the layer's steps this is the choice among the four placements of figure 4: (a) and (b)
    read after the feed-forward block, with self-attention or cross-attention first; (c), the released one, reads after
    the cross-attention that comes first; (d) reads after the self-attention that comes first.

    Args:
        after: step of the layer after which to read: "self_attention", "cross_attention" or "ffn".
        ffn: a feed-forward block that only this read-out passes (the "auxiliary FFN"); None: read as it is. It feeds
            nothing else, so that inference does without it.
        extra_groups: read extra groups of matching queries too, and not the primary one alone.

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

    def reads(self, groups: tuple[QueryGroup, ...]) -> tuple[QueryGroup, ...]:
        """Which groups of a batch are read: never denoising queries.

        Where the primary group is the only one, its losses are not shared out among groups.
        """
        matching = tuple(group for group in groups if group.role is Role.MATCHING)
        return matching if self.extra_groups else (replace(matching[0], loss_divisor=1),)

    def forward(self, content: Tensor) -> Tensor:
        """What the heads read, (B, n, C), of the queries' content (B, n, C)."""
        return self.ffn(content)
