"""Initial queries that are equal for all images: learned positions, points or boxes, and learned contents.

Positions: DETR (arXiv 2005.12872, section 3.2). Points: Conditional DETR (arXiv 2108.06152, section 3.3) and Deformable
DETR without its second stage (arXiv 2010.04159, section 4.1). Boxes: DAB-DETR (arXiv 2201.12329, section 4.2), and
DN-DETR with its indicator (arXiv 2203.01305, section 4.5).
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from querydet.modeling.boxes import full_precision, inverse_sigmoid
from querydet.modeling.layers import xavier_mlp
from querydet.structures import PRIMARY, InitialQueries, QueryGroup, TokenPyramid

CENTRE = 0.5  # centre of the image, from which a prediction without a reference starts: its logit is 0


def check_num_queries(num_queries: int) -> None:
    """Raise ValueError unless the number of queries is a whole number, at least one."""
    if not isinstance(num_queries, int) or num_queries < 1:
        raise ValueError(f"num_queries must be a whole number and at least 1, found {num_queries!r}")


class LearnedQueries(nn.Module):
    """A table of positions; contents start at zero, and all references are the centre of the image (DETR).

    So a predicted box is the sigmoid of the head's output, as in the released code.

    Args:
        num_queries: Q.
        embed_dim: width C.
        repeats: R, the number of copies of each object that the queries are matched with; more than one is the naive
            one-to-many assignment that Group DETR compares with (arXiv 2207.13085, table 7).

    Raises:
        ValueError: less than one query, or `repeats` is less than one or more than there are queries.
    """

    reference_dim = 2  # points
    fixed_positions = True

    def __init__(self, *, num_queries: int, embed_dim: int = 256, repeats: int = 1) -> None:
        super().__init__()
        check_num_queries(num_queries)
        if not isinstance(repeats, int) or not 1 <= repeats <= num_queries:
            raise ValueError(
                f"repeats={repeats} does not fit: each object is offered to {num_queries} queries at least once, and "
                "to no more queries than there are, a whole number of times; change repeats or num_queries"
            )
        self.target_repeats, self.embed_dim = repeats, embed_dim
        self.embedding = nn.Embedding(num_queries, embed_dim)

    @property
    def num_queries(self) -> int:
        """Q, the number of queries."""
        return self.embedding.num_embeddings

    def points(self, position: Tensor) -> Tensor:
        """Return normalised reference points (B, Q, 2) for positions (B, Q, C)."""
        return full_precision(torch.full_like(position[..., :2], CENTRE))

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat the table for each image, in training and inference alike."""
        return (self._queries_of(self.embedding, memory),)

    def group_weights(self, count: int) -> dict[str, nn.Module]:
        """Make a table of positions for each further group; see `querydet.parts.SharedGroups`."""
        shape = self.embedding.weight.shape
        return {"extra_groups": nn.ModuleList(nn.Embedding(*shape) for _ in range(count))}

    def select_groups(self, memory: TokenPyramid, weights: Mapping[str, nn.Module]) -> tuple[InitialQueries, ...]:
        """Repeat the table of each group for each image; the groups share everything else."""
        tables: list[nn.Module] = [self.embedding, *weights["extra_groups"].children()]
        return tuple(self._queries_of(table, memory) for table in tables)

    def _queries_of(self, table: nn.Module, memory: TokenPyramid) -> InitialQueries:
        assert isinstance(table, nn.Embedding)
        images = memory.tokens.shape[0]  # not len(), which would fix it in exported programs
        position = table.weight.expand(images, -1, -1)
        repeats = self.target_repeats
        group = QueryGroup(PRIMARY, 0, table.num_embeddings, target_repeats=repeats, loss_divisor=repeats)
        content = torch.zeros_like(position)
        return InitialQueries(group=group, content=content, boxes=self.points(position), position=position)

    def embed_boxes(self, boxes: Tensor) -> None:
        """Return None: the positions are a table, and there is no map from a box to one."""


class LearnedQueriesWithPoints(LearnedQueries):
    """A table of positions, each of which predicts its reference point by an MLP (Conditional DETR).

    Args:
        num_queries, embed_dim, repeats: see `LearnedQueries`.
    """

    def __init__(self, *, num_queries: int, embed_dim: int = 256, repeats: int = 1) -> None:
        super().__init__(num_queries=num_queries, embed_dim=embed_dim, repeats=repeats)
        self.point_head = xavier_mlp(embed_dim, embed_dim, 2, num_layers=2)

    def points(self, position: Tensor) -> Tensor:
        """Return normalised reference points (B, Q, 2) for positions (B, Q, C)."""
        return full_precision(self.point_head(position)).sigmoid()


class LearnedPoints(nn.Module):
    """A table of positions and contents; each position predicts its reference point (Deformable DETR, one stage).

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
        self.embedding = nn.Embedding(num_queries, 2 * embed_dim)
        self.reference_points = nn.Linear(embed_dim, 2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights that predict reference points."""
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)

    @property
    def num_queries(self) -> int:
        """Q, the number of queries."""
        return self.embedding.num_embeddings

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat the table for each image, in training and inference alike."""
        position, content = self.embedding.weight.expand(memory.tokens.shape[0], -1, -1).chunk(2, dim=-1)
        points = full_precision(self.reference_points(position)).sigmoid()
        group = QueryGroup(PRIMARY, 0, self.num_queries)
        return (InitialQueries(group=group, content=content, boxes=points, position=position),)

    def embed_boxes(self, boxes: Tensor) -> None:
        """Return None: the positions are a table, and there is no map from a box to one."""


class LearnedBoxes(nn.Module):
    """A table of boxes and a table of contents; the decoder makes the positions (DAB-DETR, DN-DETR).

    Args:
        num_queries: Q.
        embed_dim: width C.
        indicator: whether the last channel of the content stays 0, where denoising queries have 1.
        content_init: initial contents, "normal" (N(0, 1), released code of DAB-DETR and DN-DETR) or "zeros" (detrex).
        box_init: initial boxes, "normal" (logits from N(0, 1), released code) or "uniform" (coordinates from U(0, 1),
            their logits clipped to [-3, 3]; detrex).

    Raises:
        ValueError: for an unknown initialisation, or less than one query.
    """

    reference_dim = 4  # boxes
    fixed_positions = False
    content: nn.Embedding | None

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
        self.content_init, self.box_init = content_init, box_init
        self.content = nn.Embedding(num_queries, embed_dim - indicator)
        self.anchors = nn.Embedding(num_queries, 4)  # in logit space
        if content_init == "zeros":
            nn.init.zeros_(self.content.weight)
        if box_init == "uniform":
            with torch.no_grad():
                uniform = torch.rand_like(self.anchors.weight)
                self.anchors.weight.copy_(inverse_sigmoid(uniform, 1e-3).clamp(-3, 3))

    def another(self) -> "LearnedBoxes":
        """Make tables like these, with newly drawn values, for another group."""
        return LearnedBoxes(
            num_queries=self.num_queries,
            embed_dim=self.embed_dim,
            indicator=self.indicator,
            content_init=self.content_init,
            box_init=self.box_init,
        )

    @property
    def num_queries(self) -> int:
        """Q, the number of queries."""
        return self.anchors.num_embeddings

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat the tables for each image, in training and inference alike."""
        assert self.content is not None
        content = F.pad(self.content.weight, (0, 1)) if self.indicator else self.content.weight
        boxes = full_precision(self.anchors.weight).sigmoid()
        images = memory.tokens.shape[0]  # not len(), which would fix it in exported programs
        return (
            InitialQueries(
                group=QueryGroup(PRIMARY, 0, self.num_queries),
                content=content.expand(images, -1, -1),
                boxes=boxes.expand(images, -1, -1),
            ),
        )

    def embed_boxes(self, boxes: Tensor) -> None:
        """Return None: the decoder makes the positions of all boxes."""


class LearnedBoxesWithPatterns(LearnedBoxes):
    """A table of boxes, and a few contents ("patterns"), each of which is combined with every box.

    Without patterns, contents are zero (DAB-DETR). DN-DETR with standard attention has one for all boxes: in its
    released code the row "unknown" of the label table, to which its patterns are added. Several patterns make several
    queries of each box, the boxes of the first pattern first (released code, after Anchor DETR).

    Args:
        num_queries: number of boxes; Q is this times the number of patterns.
        num_patterns: number of patterns; 0: the contents are zero and not learned, unless there is a shared one.
        embed_dim: width C.
        indicator: whether the last channel of the contents is 0, where denoising queries have 1.
        shared_content: whether every pattern is added to one more learned content. Patterns then have all C channels,
            so that they also learn the indicator (released code of DN-DETR).

    Raises:
        ValueError: for a negative number of patterns, or less than one query.
    """

    def __init__(
        self,
        *,
        num_queries: int,
        num_patterns: int = 0,
        embed_dim: int = 256,
        indicator: bool = False,
        shared_content: bool = False,
    ) -> None:
        if num_patterns < 0:
            raise ValueError(f"num_patterns must not be negative, found {num_patterns}")
        super().__init__(num_queries=num_queries, embed_dim=embed_dim, indicator=indicator)
        self.num_patterns, self.shared_content = num_patterns, shared_content
        rows = 1 if shared_content else num_patterns
        self.content = nn.Embedding(rows, embed_dim - indicator) if rows else None
        self.patterns = nn.Embedding(num_patterns, embed_dim) if shared_content and num_patterns else None
        if self.patterns is not None:
            nn.init.xavier_uniform_(self.patterns.weight)  # as every matrix of the released transformer

    def another(self) -> "LearnedBoxesWithPatterns":
        """Make tables like these, with newly drawn values, for another group."""
        return LearnedBoxesWithPatterns(
            num_queries=self.anchors.num_embeddings,
            num_patterns=self.num_patterns,
            embed_dim=self.embed_dim,
            indicator=self.indicator,
            shared_content=self.shared_content,
        )

    @property
    def num_queries(self) -> int:
        """Q, the number of boxes times that of patterns."""
        return self.anchors.num_embeddings * max(1, self.num_patterns)

    def forward(self, memory: TokenPyramid, training: bool) -> tuple[InitialQueries, ...]:
        """Repeat boxes and patterns for each image, in training and inference alike."""
        boxes, contents = full_precision(self.anchors.weight).sigmoid(), self.pattern_contents()
        images = memory.tokens.shape[0]
        return (
            InitialQueries(
                group=QueryGroup(PRIMARY, 0, self.num_queries),
                content=contents.repeat_interleave(len(boxes), dim=0).expand(images, -1, -1),
                boxes=boxes.repeat(len(contents), 1).expand(images, -1, -1),
            ),
        )

    def pattern_contents(self) -> Tensor:
        """Return the contents (P, C) of the P patterns, or of all queries (1, C)."""
        if self.content is None:
            return self.anchors.weight.new_zeros(1, self.embed_dim)
        content = F.pad(self.content.weight, (0, int(self.indicator)))
        return content if self.patterns is None else content + self.patterns.weight
