"""The learned queries of the dense family: positions (DETR, Conditional DETR) and boxes (DAB-DETR).

DETR (arXiv 2005.12872, section 3.2), Conditional DETR (arXiv 2108.06152, section 3.3), DAB-DETR (arXiv 2201.12329,
section 4.2), and the dense model of DN-DETR's released code.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from querydet.modeling.boxes import full_precision
from querydet.modeling.layers import xavier_mlp
from querydet.modeling.selection.grouped import GroupedAnchors, check_num_groups, group_name
from querydet.modeling.selection.learned import LearnedBoxes, check_num_queries
from querydet.structures import InitialQueries, QueryGroup, TokenPyramid

CENTRE = 0.5  # of the image, where a prediction without a reference starts: its logit is 0


class LearnedQueries(nn.Module):
    """A table of positions; contents start at zero, and predictions at the centre of the image (DETR).

    A box is then the sigmoid of what the head says, as in the released code.

    Args:
        num_queries: Q.
        embed_dim: width C.
        repeats: how often each object is offered to the queries, which with more than once is the naive one-to-many
            assignment that Group DETR compares with (arXiv 2207.13085, table 7).

    Raises:
        ValueError: less than one query, or ``repeats`` is less than one or more than there are queries.
    """

    reference_dim = 2  # points
    fixed_positions = True  # the queries bring their positional part
    num_groups = 1

    def __init__(self, *, num_queries: int, embed_dim: int = 256, repeats: int = 1) -> None:
        super().__init__()
        check_num_queries(num_queries)
        if not isinstance(repeats, int) or not 1 <= repeats <= num_queries:
            raise ValueError(
                f"repeats={repeats} does not fit: each object is offered to {num_queries} queries at least once, and "
                "to no more queries than there are, a whole number of times; change repeats or num_queries"
            )
        self.repeats, self.embed_dim = repeats, embed_dim
        self.embedding = nn.Embedding(num_queries, embed_dim)

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.embedding.num_embeddings

    def tables(self, training: bool) -> list[nn.Embedding]:
        """The tables of the groups."""
        return [self.embedding]

    def sees(self, number: int) -> tuple[str, ...]:
        """Names of the other groups that the queries of a group attend to."""
        return ()

    def points(self, position: Tensor) -> Tensor:
        """Reference points (B, Q, 2), normalised, of positions (B, Q, C)."""
        return full_precision(torch.full_like(position[..., :2], CENTRE))

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat the tables for each image."""
        images = memory.tokens.shape[0]  # not len(), which would fix it in exported programs
        made = []
        for number, table in enumerate(self.tables(training)):
            position = table.weight.expand(images, -1, -1)
            group = QueryGroup(
                group_name(number),
                0,
                table.num_embeddings,
                visible_groups=self.sees(number) if training else (),
                target_repeats=self.repeats,
                loss_divisor=self.num_groups * self.repeats,
            )
            content = torch.zeros_like(position)
            made.append(InitialQueries(group=group, content=content, boxes=self.points(position), position=position))
        return tuple(made)

    def embed_boxes(self, boxes: Tensor) -> None:
        """Nothing: the positions are a table, and there is no map from a box to one."""


class LearnedQueriesWithPoints(LearnedQueries):
    """A table of positions, of each of which an MLP makes a reference point (Conditional DETR).

    Args:
        num_queries, repeats: see :class:`LearnedQueries`.
        embed_dim: width C.
    """

    def __init__(self, *, num_queries: int, embed_dim: int = 256, repeats: int = 1) -> None:
        super().__init__(num_queries=num_queries, embed_dim=embed_dim, repeats=repeats)
        self.point_head = xavier_mlp(embed_dim, embed_dim, 2, num_layers=2)

    def points(self, position: Tensor) -> Tensor:
        """Reference points (B, Q, 2), normalised, of positions (B, Q, C)."""
        return full_precision(self.point_head(position)).sigmoid()


class GroupedPositions(LearnedQueries):
    """K groups of queries in training, a table of positions for each (Group DETR, arXiv 2207.13085).

    Args:
        num_groups: K, with the primary group.
        separate: groups do not see each other. False is the joint self-attention of table 7, which the paper compares
            with: the primary group then learns among all queries, and inference has it alone.
        primary: of the primary group: see the class beside this one.

    Raises:
        ValueError: for less than one group.
    """

    training_only = ("extra_groups",)

    def __init__(self, *, num_groups: int = 11, separate: bool = True, **primary: Any) -> None:
        super().__init__(**primary)
        check_num_groups(num_groups)
        self.num_groups, self.separate = num_groups, separate
        shape = self.embedding.weight.shape
        self.extra_groups = nn.ModuleList(nn.Embedding(*shape) for _ in range(num_groups - 1))

    def tables(self, training: bool) -> list[nn.Embedding]:
        """The primary group's table; in training, followed by the others."""
        extra: Any = self.extra_groups if training else ()
        return [self.embedding, *extra]

    def sees(self, number: int) -> tuple[str, ...]:
        """Names of the other groups that the queries of a group attend to."""
        others = () if self.separate else range(self.num_groups)
        return tuple(group_name(other) for other in others if other != number)


class GroupedLearnedPositions(GroupedPositions):
    """K groups of :class:`LearnedQueries`: Group DETR on DETR."""


class GroupedPositionalQueries(GroupedPositions, LearnedQueriesWithPoints):
    """K groups of :class:`LearnedQueriesWithPoints`, which share the head of the reference points: Group DETR as
    released."""


class LearnedBoxesWithPatterns(LearnedBoxes):
    """A table of boxes, and a few contents that each of them comes with.

    Without patterns, contents start at zero (DAB-DETR). DN-DETR's dense model has one for all boxes: in its released
    code the row "unknown" of the label table, which no noised label reads, so that here it is the queries' own. With p
    patterns there are p queries for each box, the boxes of the first pattern first (released code, after Anchor DETR).

    Args:
        num_queries: boxes; with patterns there are so many queries for each.
        num_patterns: p; 0: zeros, which are not learned.
        embed_dim: width C.
        indicator: the last channel of the content is 0, where denoising queries have 1.

    Raises:
        ValueError: for a negative number of patterns, or less than one query.
    """

    def __init__(
        self, *, num_queries: int, num_patterns: int = 0, embed_dim: int = 256, indicator: bool = False
    ) -> None:
        if num_patterns < 0:
            raise ValueError(f"num_patterns must not be negative, found {num_patterns}")
        super().__init__(num_queries=num_queries, embed_dim=embed_dim, indicator=indicator)
        self.num_patterns = num_patterns
        self.content = nn.Embedding(num_patterns, embed_dim - indicator) if num_patterns else None  # type: ignore[assignment]

    @property
    def num_queries(self) -> int:
        """Boxes times patterns."""
        return self.anchors.num_embeddings * max(1, self.num_patterns)

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat boxes and patterns for each image, in training and inference alike."""
        boxes = full_precision(self.anchors.weight).sigmoid()
        if self.content is None:
            content = self.anchors.weight.new_zeros(1, self.embed_dim)
        else:
            content = F.pad(self.content.weight, (0, int(self.indicator)))
        images, patterns = memory.tokens.shape[0], len(content)
        content = content.repeat_interleave(len(boxes), dim=0)
        group = QueryGroup(group_name(0), 0, self.num_queries)
        return (
            InitialQueries(
                group=group,
                content=content.expand(images, -1, -1),
                boxes=boxes.repeat(patterns, 1).expand(images, -1, -1),
            ),
        )


class GroupedPatternAnchors(GroupedAnchors, LearnedBoxesWithPatterns):
    """K groups of :class:`LearnedBoxesWithPatterns` in training: Group DETR on dense DAB-DETR and DN-DETR."""

    member = LearnedBoxesWithPatterns
