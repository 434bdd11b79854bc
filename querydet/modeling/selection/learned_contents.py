"""Learned queries with a content and a position each, and no box (Mask2Former, arXiv 2112.01527, section 3.2)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from querydet.modeling.selection.learned import CENTRE, check_num_queries
from querydet.structures import PRIMARY, InitialQueries, QueryGroup, TokenPyramid


class LearnedContents(nn.Module):
    """A table of contents and one of positions. The queries have no boxes: all references are the centre of the image.

    Groups of a `GroupedSelection` have tables of their own and share everything else.

    Args:
        num_queries: Q.
        embed_dim: width C.

    Raises:
        ValueError: for less than one query.
    """

    reference_dim = 2  # points
    fixed_positions = True

    def __init__(self, *, num_queries: int, embed_dim: int = 256) -> None:
        super().__init__()
        check_num_queries(num_queries)
        self.embed_dim = embed_dim
        self.content = nn.Embedding(num_queries, embed_dim)
        self.position = nn.Embedding(num_queries, embed_dim)

    @property
    def num_queries(self) -> int:
        """Q, the number of queries."""
        return self.content.num_embeddings

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat the tables for each image, in training and inference alike."""
        return (self._queries_of(self.content, self.position, memory),)

    def group_weights(self, count: int) -> dict[str, nn.Module]:
        """Make two tables for each further group; see `querydet.parts.SharedGroups`."""
        shape = self.content.weight.shape
        return {
            name: nn.ModuleList(nn.Embedding(*shape) for _ in range(count))
            for name in ("extra_contents", "extra_positions")
        }

    def select_groups(self, memory: TokenPyramid, weights: Mapping[str, nn.Module]) -> tuple[InitialQueries, ...]:
        """Repeat the tables of each group for each image."""
        contents = [self.content, *weights["extra_contents"].children()]
        positions = [self.position, *weights["extra_positions"].children()]
        tables = zip(contents, positions, strict=True)
        return tuple(self._queries_of(content, position, memory) for content, position in tables)

    def _queries_of(self, content: nn.Module, position: nn.Module, memory: TokenPyramid) -> InitialQueries:
        assert isinstance(content, nn.Embedding)
        assert isinstance(position, nn.Embedding)
        images = memory.tokens.shape[0]  # not len(), which would fix it in exported programs
        contents = content.weight.expand(images, -1, -1)
        return InitialQueries(
            group=QueryGroup(PRIMARY, 0, content.num_embeddings),
            content=contents,
            boxes=torch.full_like(contents[..., :2], CENTRE),
            position=position.weight.expand(images, -1, -1),
        )

    def embed_boxes(self, boxes: Tensor) -> None:
        """Return None: the positions are a table, and there is no map from a box to one."""
