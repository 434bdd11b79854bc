"""Group DETR: several groups of queries in training, each trained like the primary one (arXiv 2207.13085, section 3).

K groups share the decoder and its heads and nothing else: each starts from its own queries, attends to itself, is
matched one to one, and carries 1/K of the loss (equation 7). Inference builds the primary group alone, so that a group
costs nothing there. Over a first stage every group selects its queries by a proposal head of its own, and denoising
queries can be made for every group anew; the paper does not say so, the authors' and Baidu's later code does.
"""

import copy
from dataclasses import replace
from typing import Any

from torch import nn

from querydet.modeling.selection.content import LearnedContent
from querydet.modeling.selection.learned import LearnedBoxes
from querydet.modeling.selection.proposals import ProposalHead, anchor_tokens
from querydet.modeling.selection.topk import TopKSelection
from querydet.structures import PRIMARY, InitialQueries, QueryGroup, TokenPyramid

SOURCES = ("per_set", "shared", "ranked")


def group_name(number: int) -> str:
    """What group ``number`` is called; number 0 is the primary one."""
    return PRIMARY if number == 0 else f"group{number}"


def check_num_groups(num_groups: int) -> None:
    """Raise ValueError for less than one group, and for no whole number of them."""
    if not isinstance(num_groups, int) or num_groups < 1:
        raise ValueError(
            f"num_groups must be at least 1, the primary group alone, and a whole number; found {num_groups!r}"
        )


def copy_head(head: ProposalHead) -> ProposalHead:
    """A proposal head for another group: its class and box heads start equal, its projection is drawn anew.

    Heads that were equal throughout would stay so: they learn from the encoder's loss alone, which would be the same
    for all, and all groups would select the same tokens for ever.
    """
    copied = copy.deepcopy(head)
    copied.reset_projection()
    return copied


def copy_content(content: nn.Module) -> nn.Module:
    """The same part for another group: a learned table is drawn anew, other weights start equal."""
    copied = copy.deepcopy(content)
    if isinstance(copied, LearnedContent):
        copied.reset_parameters()
    return copied


class GroupedTopKSelection(TopKSelection):
    """K groups of queries in training, the best proposals for each.

    Args:
        num_groups: K, with the primary group; 11 in the paper, which finds more of no use (figure 9).
        source: where the boxes of the other groups come from. "per_set": each group has a proposal head of its own,
            which is supervised with its group and has its own best tokens. "shared": all groups start from the same
            boxes, with a learned content of their own. "ranked": group g starts from ranks g*Q to (g+1)*Q of one
            selection.
        primary: see :class:`TopKSelection`; of the primary group. The other groups have contents of their own, and the
            ``box_embedding`` serves all.

    Raises:
        ValueError: for an unknown source, less than one group, groups that nothing tells apart, or when nothing gives
            the queries their content.
    """

    training_only = ("extra_proposals", "extra_contents")

    def __init__(self, *, num_groups: int = 11, source: str = "per_set", **primary: Any) -> None:
        super().__init__(**primary)
        check_num_groups(num_groups)
        if source not in SOURCES:
            raise ValueError(f"source must be one of {SOURCES}, found {source!r}")
        if source == "shared" and not isinstance(self.content, LearnedContent):
            raise ValueError(
                "source='shared' gives all groups the same boxes, and without a learned content nothing would tell the "
                "groups apart: set content to a LearnedContent, or source='per_set'"
            )
        self.num_groups = num_groups
        self.source = source
        own_heads = num_groups - 1 if source == "per_set" else 0
        self.extra_proposals = nn.ModuleList(copy_head(self.proposals) for _ in range(own_heads))
        contents = [] if self.content is None else [self.content] * (num_groups - 1)
        self.extra_contents = nn.ModuleList(map(copy_content, contents))

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """The primary group; in training, followed by the others.

        Raises:
            ValueError: when the images have fewer tokens than the queries to select from one set of proposals.
        """
        if not training:
            return super().forward(memory, training)
        return self._own_proposals(memory) if self.source == "per_set" else self._one_set_of_proposals(memory)

    def _own_proposals(self, memory: TokenPyramid) -> tuple[InitialQueries, ...]:
        groups = []
        candidates = anchor_tokens(memory)
        for number, head in enumerate([self.proposals, *self.extra_proposals]):
            proposals = head(candidates)
            index = self.select(proposals, self.num_queries)
            supervised = replace(self.supervised(proposals, index), loss_divisor=self.num_groups)
            groups.append(self.make_queries(proposals, index, self._content(number), self._group(number), supervised))
        return tuple(groups)

    def _one_set_of_proposals(self, memory: TokenPyramid) -> tuple[InitialQueries, ...]:
        proposals = self.proposals(anchor_tokens(memory))
        if self.source == "ranked":
            slices = self.select(proposals, self.num_groups * self.num_queries).split(self.num_queries, dim=1)
        else:
            slices = (self.select(proposals, self.num_queries),) * self.num_groups
        supervised = self.supervised(proposals, slices[0])
        return tuple(
            self.make_queries(
                proposals, index, self._content(number), self._group(number), None if number else supervised
            )
            for number, index in enumerate(slices)
        )

    def _content(self, number: int) -> nn.Module | None:
        return self.content if number == 0 or self.content is None else self.extra_contents[number - 1]

    def _group(self, number: int) -> QueryGroup:
        return QueryGroup(group_name(number), 0, self.num_queries, loss_divisor=self.num_groups)


class GroupedAnchors(nn.Module):
    """K groups of queries in training, learned boxes and contents for each; to be mixed into the part for one group.

    Args:
        num_groups: K, with the primary group.
        primary: of ``member``; the tables of the other groups are like the primary's, drawn anew.

    Raises:
        ValueError: for less than one group.
    """

    training_only = ("extra_groups",)
    member: type[nn.Module]  # the part for one group

    def __init__(self, *, num_groups: int = 11, **primary: Any) -> None:
        super().__init__(**primary)
        check_num_groups(num_groups)
        self.num_groups = num_groups
        self.extra_groups = nn.ModuleList(self.member(**primary) for _ in range(num_groups - 1))

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """The primary group; in training, followed by the others."""
        made = super().forward(memory, training)
        for each in self.extra_groups if training else ():
            made += each(memory, training)
        return tuple(
            replace(each, group=replace(each.group, name=group_name(number), loss_divisor=self.num_groups))
            for number, each in enumerate(made)
        )


class GroupedLearnedAnchors(GroupedAnchors, LearnedBoxes):
    """K groups of :class:`LearnedBoxes`; an unknown initialisation is a ValueError, as there."""

    member = LearnedBoxes
