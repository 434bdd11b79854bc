"""Initial queries that are the same for every image: learned content, position and reference point.

Deformable DETR without its second stage (arXiv 2010.04159, section 4.1).
"""

from torch import nn

from querydet.boxes import full_precision
from querydet.selection.initial import InitialQueries
from querydet.structures import FeaturePyramid


class LearnedPoints(nn.Module):
    """A table of positional queries and contents; each position predicts its reference point.

    Args:
        num_queries: Q.
        embed_dim: width C.
    """

    def __init__(self, *, num_queries: int, embed_dim: int = 256) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_queries, 2 * embed_dim)
        self.reference_points = nn.Linear(embed_dim, 2)
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.embedding.num_embeddings

    def forward(self, memory: FeaturePyramid) -> InitialQueries:
        """Repeat the table for each image."""
        position, content = self.embedding.weight.expand(len(memory.tokens), -1, -1).chunk(2, dim=-1)
        points = full_precision(self.reference_points(position)).sigmoid()
        return InitialQueries(content=content, boxes=points, position=position, predictions=None)
