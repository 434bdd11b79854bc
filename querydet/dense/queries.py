"""Learned positions that predict their reference points (Conditional DETR, arXiv 2108.06152, section 3.3)."""

import torch
from torch import Tensor, nn

from querydet.boxes import full_precision
from querydet.layers import MLP
from querydet.queries.grouped import check_num_groups, group_name
from querydet.structures import FeaturePyramid, InitialQueries, QueryGroup


class PositionalQueries(nn.Module):
    """A table of positions; contents start at zero, and an MLP makes a reference point of each position.

    Args:
        num_queries: Q.
        embed_dim: width C.
    """

    reference_dim = 2  # points
    fixed_positions = True  # the queries bring their positional part
    num_groups = 1

    def __init__(self, *, num_queries: int, embed_dim: int = 256) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_queries, embed_dim)
        self.point_head = MLP(embed_dim, embed_dim, 2, num_layers=2)
        for parameter in self.point_head.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.embedding.num_embeddings

    def tables(self, training: bool) -> list[nn.Embedding]:
        """The tables of the groups."""
        return [self.embedding]

    def forward(self, memory: FeaturePyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat the tables for each image."""
        images = memory.tokens.shape[0]  # not len(), which would fix it in exported programs
        made = []
        for number, table in enumerate(self.tables(training)):
            position = table.weight.expand(images, -1, -1)
            group = QueryGroup(group_name(number), 0, table.num_embeddings, divisor=self.num_groups)
            points = full_precision(self.point_head(position)).sigmoid()
            content = torch.zeros_like(position)
            made.append(InitialQueries(group=group, content=content, boxes=points, position=position))
        return tuple(made)

    def embed_boxes(self, boxes: Tensor) -> None:
        """Nothing: the positions are a table, and there is no map from a box to one."""


class GroupedPositionalQueries(PositionalQueries):
    """K groups of queries in training, a table for each (Group DETR, arXiv 2207.13085, on Conditional DETR).

    Args:
        num_groups: K, with the primary group.
        num_queries: Q, of each group.
        embed_dim: width C.

    Raises:
        ValueError: for less than one group.
    """

    training_only = ("extra_groups",)

    def __init__(self, *, num_queries: int, embed_dim: int = 256, num_groups: int = 11) -> None:
        super().__init__(num_queries=num_queries, embed_dim=embed_dim)
        check_num_groups(num_groups)
        self.num_groups = num_groups
        self.extra_groups = nn.ModuleList(nn.Embedding(num_queries, embed_dim) for _ in range(num_groups - 1))

    def tables(self, training: bool) -> list[nn.Embedding]:
        """The primary group's table; in training, followed by the others."""
        return [self.embedding, *(self.extra_groups if training else ())]
