"""The decoder: queries attend to each other, then to a few points of the image, and refine their boxes layer by layer.

Shapes: B images, Q queries, L levels, C width. Deformable DETR (arXiv 2010.04159, section 4.1 and appendix A.4) with
the refinements of DAB-DETR (arXiv 2201.12329: positional queries from boxes) and DINO (arXiv 2203.03605, section 3.5:
look forward twice).
"""

from collections.abc import Sequence

from torch import Tensor

from querydet.modeling.decoder.base import QueryDecoder
from querydet.modeling.decoder.layer import AddedPositionLayer
from querydet.modeling.decoder.one_to_many import STEPS, OneToManyBranch
from querydet.modeling.layers import FeedForward, MultiScaleDeformableAttention, multi_head_attention
from querydet.structures import QueryBatch, TokenPyramid


class DecoderLayer(AddedPositionLayer):
    """Self-attention, deformable cross-attention and a feed-forward block, each followed by its norm.

    Args:
        embed_dim: width C.
        num_heads: of both attentions.
        ffn_dim: hidden width of the feed-forward block.
        dropout: of every update.
        num_levels, num_points: sampling points of a query: that many in each head.
        order, read_out: see :class:`QueryLayer`.

    Raises:
        ValueError: C is not a multiple of the heads, or ``order`` is not an order of the three steps.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        dropout: float = 0.0,
        num_levels: int = 4,
        num_points: int = 4,
        order: Sequence[str] = STEPS,
        read_out: OneToManyBranch | None = None,
    ) -> None:
        super().__init__(
            embed_dim=embed_dim,
            self_attention=multi_head_attention(embed_dim, num_heads, dropout),
            cross_attention=MultiScaleDeformableAttention(embed_dim, num_heads, num_levels, num_points),
            ffn=FeedForward(embed_dim, ffn_dim, dropout),
            dropout=dropout,
            order=order,
            read_out=read_out,
        )
        self.reset_parameters()

    def attend_to_tokens(self, content: Tensor, position: Tensor, place: Tensor | None, memory: TokenPyramid) -> Tensor:
        """The update (B, Q, C) from points around ``place``.

        That is (B, Q, L, 4) boxes or (B, Q, L, 2) points, relative to each padded level.
        """
        return self.cross_attention(content + position, place, memory.tokens, memory.shapes, memory.padding)


class DeformableDecoder(QueryDecoder):
    """The stack of deformable layers, which sample around the references."""

    def look(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """Positional queries, and the references in each padded level (B, Q, L, 4 or 2)."""
        # from the image to the padded maps, whose width and height follow each other
        reference = boxes[:, :, None] * memory.valid_ratios.repeat(1, 1, boxes.shape[-1] // 2)[:, None]
        return self.position(queries, boxes, memory, content, layer), reference
