"""The deformable decoder: queries sample a few points of the image around their references.

Deformable DETR (arXiv 2010.04159, section 4.1 and appendix A.4). Letters are those of `querydet.structures`.
"""

from collections.abc import Sequence

from torch import Tensor

from querydet.modeling.decoder.attention import DeformableCrossAttention, SelfAttention
from querydet.modeling.decoder.base import QueryDecoder
from querydet.modeling.decoder.layer import DecoderLayer, QueryAttention, TokenAttention
from querydet.modeling.decoder.one_to_many import STEPS, OneToManyBranch
from querydet.modeling.layers import FeedForward
from querydet.structures import QueryBatch, TokenPyramid


def deformable_decoder_layer(
    *,
    embed_dim: int = 256,
    num_heads: int = 8,
    ffn_dim: int = 2048,
    dropout: float = 0.0,
    num_levels: int = 4,
    num_points: int = 4,
    order: Sequence[str] = STEPS,
    one_to_many: OneToManyBranch | None = None,
    self_attention: QueryAttention | None = None,
    cross_attention: TokenAttention | None = None,
) -> DecoderLayer:
    """Make a layer with deformable cross-attention.

    Args:
        embed_dim: width C.
        num_heads: M, of both attentions.
        ffn_dim: hidden width of the feed-forward block.
        dropout: probability after each sub-layer, in the feed-forward block, and of attention weights among queries.
        num_levels: L.
        num_points: P, the number of sampling points of a head on each level.
        order: the three steps in the order in which they run.
        one_to_many: branch for one-to-many predictions, in training; None: none.
        self_attention: what updates queries by each other, such as `querydet.modeling.decoder.query_mlp.QueryMLP`,
            which does not; None: the usual attention.
        cross_attention: what updates queries by tokens; None: deformable attention.

    Raises:
        ValueError: C is not a multiple of M, or `order` is not an order of the three steps.
    """
    return DecoderLayer(
        embed_dim=embed_dim,
        self_attention=SelfAttention(embed_dim, num_heads, dropout) if self_attention is None else self_attention,
        cross_attention=(
            DeformableCrossAttention(embed_dim, num_heads, num_levels, num_points)
            if cross_attention is None
            else cross_attention
        ),
        ffn=FeedForward(embed_dim, ffn_dim, dropout),
        dropout=dropout,
        order=order,
        one_to_many=one_to_many,
    )


class DeformableDecoder(QueryDecoder):
    """A decoder whose queries sample the image around their references."""

    references = "places"

    @property
    def num_levels(self) -> int | None:
        """L, the number of levels that the queries sample."""
        return getattr(self.first_layer.cross_attention, "num_levels", None)

    def positional_inputs(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return positional queries, and the references (B, Q, L, 4 or 2) relative to each padded level."""
        # (w, h) of a level, once for points and twice for boxes
        reference = boxes[:, :, None] * memory.valid_ratios.repeat(1, 1, boxes.shape[-1] // 2)[:, None]
        return self.position(queries, boxes, memory, content, layer), reference
