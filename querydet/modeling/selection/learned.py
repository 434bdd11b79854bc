"""Initial queries that are the same for every image: learned content, and a learned point or box to start from.

Points: Deformable DETR without its second stage (arXiv 2010.04159, section 4.1). Boxes: DAB-DETR (arXiv 2201.12329).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from querydet.modeling.boxes import full_precision, inverse_sigmoid
from querydet.structures import PRIMARY, InitialQueries, QueryGroup, TokenPyramid


def check_num_queries(num_queries: int) -> None:
    """Raise ValueError for less than one query, and for no whole number of them."""
    if not isinstance(num_queries, int) or num_queries < 1:
        raise ValueError(f"num_queries must be a whole number and at least 1, found {num_queries!r}")


class LearnedPoints(nn.Module):
    """A table of positional queries and contents; each position predicts its reference point.

    Args:
        num_queries: Q.
        embed_dim: width C.

    Raises:
        ValueError: for less than one query.
    """

    reference_dim = 2  # points
    fixed_positions = True  # the queries bring their positional part

    def __init__(self, *, num_queries: int, embed_dim: int = 256) -> None:
        super().__init__()
        check_num_queries(num_queries)
        self.embed_dim = embed_dim
        self.embedding = nn.Embedding(num_queries, 2 * embed_dim)
        self.reference_points = nn.Linear(embed_dim, 2)
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.embedding.num_embeddings

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat the table for each image, in training and inference alike."""
        position, content = self.embedding.weight.expand(memory.tokens.shape[0], -1, -1).chunk(2, dim=-1)
        points = full_precision(self.reference_points(position)).sigmoid()
        group = QueryGroup(PRIMARY, 0, self.num_queries)
        return (InitialQueries(group=group, content=content, boxes=points, position=position),)

    def embed_boxes(self, boxes: Tensor) -> None:
        """Nothing: the positions are a table, and there is no map from a box to one."""


class LearnedBoxes(nn.Module):
    """A table of boxes and a table of contents; positions are left to the decoder.

    DAB-DETR (arXiv 2201.12329, section 4.2), and DN-DETR with its indicator (arXiv 2203.01305, section 4.5).

    Args:
        num_queries: Q.
        embed_dim: width C.
        indicator: the last channel of the content is not learned but 0, where denoising queries have 1.
        content_init: "normal" (N(0, 1), released code of DAB-DETR and DN-DETR) or "zeros" (detrex).
        box_init: "normal" (logits from N(0, 1), released code) or "uniform" (coordinates from U(0, 1), their logits
            clipped to [-3, 3]; detrex).

    Raises:
        ValueError: for an unknown initialisation, or less than one query.
    """

    reference_dim = 4  # boxes
    fixed_positions = False

    def __init__(
        self,
        *,
        num_queries: int,
        embed_dim: int = 256,
        indicator: bool = False,
        content_init: str = "normal",
        box_init: str = "normal",
    ) -> None:
        super().__init__()
        if content_init not in ("normal", "zeros"):
            raise ValueError(f"content_init must be 'normal' or 'zeros', found {content_init!r}")
        if box_init not in ("normal", "uniform"):
            raise ValueError(f"box_init must be 'normal' or 'uniform', found {box_init!r}")
        check_num_queries(num_queries)
        self.indicator, self.embed_dim = indicator, embed_dim
        self.content = nn.Embedding(num_queries, embed_dim - indicator)
        self.anchors = nn.Embedding(num_queries, 4)  # in logit space
        if content_init == "zeros":
            nn.init.zeros_(self.content.weight)
        if box_init == "uniform":
            with torch.no_grad():
                uniform = torch.rand_like(self.anchors.weight)
                self.anchors.weight.copy_(inverse_sigmoid(uniform, 1e-3).clamp(-3, 3))

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.anchors.num_embeddings

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat the tables for each image, in training and inference alike."""
        content = F.pad(self.content.weight, (0, 1)) if self.indicator else self.content.weight
        boxes = full_precision(self.anchors.weight).sigmoid()
        images = memory.tokens.shape[0]  # len() would fix it in an exported model
        return (
            InitialQueries(
                group=QueryGroup(PRIMARY, 0, self.num_queries),
                content=content.expand(images, -1, -1),
                boxes=boxes.expand(images, -1, -1),
            ),
        )

    def embed_boxes(self, boxes: Tensor) -> None:
        """Nothing: the decoder makes the positions of all boxes."""
