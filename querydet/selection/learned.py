"""Initial queries that are the same for every image: learned content, position and reference point.

Deformable DETR without its second stage (arXiv 2010.04159, section 4.1).
"""

from torch import Tensor, nn

from querydet.boxes import full_precision
from querydet.structures import PRIMARY, FeaturePyramid, InitialQueries, QueryGroup


class LearnedPoints(nn.Module):
    """A table of positional queries and contents; each position predicts its reference point.

    Args:
        num_queries: Q.
        embed_dim: width C.
    """

    reference_dim = 2  # points
    fixed_positions = True  # the queries bring their positional part

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

    def forward(self, memory: FeaturePyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat the table for each image, in training and inference alike."""
        position, content = self.embedding.weight.expand(len(memory.tokens), -1, -1).chunk(2, dim=-1)
        points = full_precision(self.reference_points(position)).sigmoid()
        group = QueryGroup(PRIMARY, 0, self.num_queries)
        return (InitialQueries(group=group, content=content, boxes=points, position=position),)

    def embed_boxes(self, boxes: Tensor) -> None:
        """Nothing: the positions are a table, and there is no map from a box to one."""
