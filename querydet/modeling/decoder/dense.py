"""The decoders of the dense family: DETR's, Conditional DETR's and DAB-DETR's.

They are the shared stack of layers (:mod:`querydet.modeling.decoder.deformable`); what differs is what a query tells
the cross-attention of its place. DETR (arXiv 2005.12872, section 3.2): its learned position, added to the content.
Conditional DETR (arXiv 2108.06152, section 3): beside the content, the sine embedding of its reference point. DAB-DETR
(arXiv 2201.12329, section 4): that of its box's centre, sharpened by width and height (section 4.4), and the box is
refined.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from querydet.modeling.boxes import full_precision
from querydet.modeling.decoder.base import QueryDecoder
from querydet.modeling.decoder.group_attention import AttentionPlan
from querydet.modeling.decoder.layer import AddedPositionLayer, QueryLayer
from querydet.modeling.decoder.one_to_many import STEPS, OneToManyBranch
from querydet.modeling.layers import make_feed_forward, multi_head_attention, xavier_mlp
from querydet.modeling.layers.conditional_attention import ConditionalCrossAttention, ConditionalSelfAttention
from querydet.modeling.layers.position_embedding import BOX_TEMPERATURE, sine_embedding
from querydet.structures import QueryBatch, TokenPyramid

TWO_PI = 6.283185307179586
MIN_SIZE = 1e-6  # of a box that the attention is divided by; ours: the released code divides by what it finds


class DetrDecoderLayer(AddedPositionLayer):
    """DETR's layer: positions are added to contents, of queries and of tokens.

    Args:
        embed_dim: width C.
        num_heads: of both attentions.
        ffn_dim: hidden width of the feed-forward block.
        dropout: of the attention weights and of every update.
        activation: of the feed-forward block, "relu" or "prelu".
        order, read_out: see :class:`querydet.modeling.decoder.layer.QueryLayer`.

    Raises:
        ValueError: C is not a multiple of the heads, or for an order or an activation that does not exist.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        dropout: float = 0.0,
        activation: str = "relu",
        order: Sequence[str] = STEPS,
        read_out: OneToManyBranch | None = None,
    ) -> None:
        super().__init__(
            embed_dim=embed_dim,
            self_attention=multi_head_attention(embed_dim, num_heads, dropout),
            cross_attention=multi_head_attention(embed_dim, num_heads, dropout),
            ffn=make_feed_forward(embed_dim, ffn_dim, dropout, activation),
            dropout=dropout,
            order=order,
            read_out=read_out,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier weights, as the released code gives every matrix of its transformers."""
        super().reset_parameters()
        assert isinstance(self.cross_attention, nn.MultiheadAttention)
        nn.init.xavier_uniform_(self.cross_attention.out_proj.weight)

    def attend_to_tokens(self, content: Tensor, position: Tensor, place: Tensor | None, memory: TokenPyramid) -> Tensor:
        """The update (B, Q, C); ``place`` is not looked at."""
        query, key = content + position, memory.tokens + memory.position
        return self.cross_attention(query, key, memory.tokens, key_padding_mask=memory.padding, need_weights=False)[0]


class ConditionalDecoderLayer(QueryLayer):
    """The layer of Conditional DETR and DAB-DETR: contents and positions have projections of their own.

    Args:
        embed_dim: width C.
        num_heads: of both attentions.
        ffn_dim: hidden width of the feed-forward block.
        dropout: of the attention weights and of every update.
        activation: of the feed-forward block, "relu" or "prelu" (released code of DAB-DETR).
        order, read_out: see :class:`querydet.modeling.decoder.layer.QueryLayer`.

    Raises:
        ValueError: C is not a multiple of the heads, or for an order or an activation that does not exist.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        dropout: float = 0.0,
        activation: str = "relu",
        order: Sequence[str] = STEPS,
        read_out: OneToManyBranch | None = None,
    ) -> None:
        super().__init__(
            embed_dim=embed_dim,
            self_attention=ConditionalSelfAttention(embed_dim, num_heads, dropout),
            cross_attention=ConditionalCrossAttention(embed_dim, num_heads, dropout),
            ffn=make_feed_forward(embed_dim, ffn_dim, dropout, activation),
            dropout=dropout,
            order=order,
            read_out=read_out,
        )

    def attend_to_queries(self, content: Tensor, position: Tensor, plan: AttentionPlan) -> Tensor:
        """The update (B, Q, C) by self-attention."""
        return plan.apply(self.self_attention, position, content)

    def attend_to_tokens(self, content: Tensor, position: Tensor, place: Tensor | None, memory: TokenPyramid) -> Tensor:
        """The update (B, Q, C); ``place`` (B, Q, C) is the embedded reference."""
        return self.cross_attention(content, position, place, memory)


class DetrDecoder(QueryDecoder):
    """DETR's decoder: every layer predicts anew from the position that the queries bring.

    Args:
        output_norm, refine_boxes, others: see :class:`querydet.modeling.decoder.base.QueryDecoder`.
    """

    def __init__(self, *, output_norm: bool = True, refine_boxes: bool = False, **others: Any) -> None:
        super().__init__(output_norm=output_norm, refine_boxes=refine_boxes, **others)

    def look(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """Positional queries alone."""
        return self.position(queries, boxes, memory, content, layer), None


class ConditionalDecoder(QueryDecoder):
    """The decoder of Conditional DETR: the content scales the embedded reference point, from the second layer on.

    Its second and later layers lose their projection of positional queries to the cross-attention, as released.

    Args:
        layer, output_norm, refine_boxes, others: see :class:`querydet.modeling.decoder.base.QueryDecoder`.
    """

    def __init__(
        self,
        *,
        layer: ConditionalDecoderLayer,
        output_norm: bool = True,
        refine_boxes: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(layer=layer, output_norm=output_norm, refine_boxes=refine_boxes, **others)
        for other in self.layers[1:]:
            other.cross_attention.query_position = None  # type: ignore[union-attr]
        self.embed_dim = layer.embed_dim
        self.query_scale = xavier_mlp(self.embed_dim, self.embed_dim, self.embed_dim, num_layers=2)

    def look(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """Positional queries, and the scaled embedding (B, Q, C) of the points or of the boxes' centres."""
        angles = full_precision(boxes[..., :2]).flip(-1) * TWO_PI  # y first
        sine = sine_embedding(angles, self.embed_dim // 2, BOX_TEMPERATURE).flatten(-2).to(content.dtype)
        scaled = sine if layer == 0 else sine * self.query_scale(content)
        return self.position(queries, boxes, memory, content, layer), scaled


class DabDecoder(ConditionalDecoder):
    """The decoder of DAB-DETR: queries are boxes, whose size modulates where they look, refined layer by layer.

    The embedding of x is multiplied by a predicted width over the box's, that of y by a predicted height over the
    box's (section 4.4, equation 6). A prediction refines the box of the layer before with its gradient, as released
    (what DINO calls looking forward twice).

    Args:
        query_position: makes positional queries of boxes, :class:`querydet.modeling.decoder.BoxPosition`.
        refine_boxes, look_forward_twice, others: see :class:`querydet.modeling.decoder.base.QueryDecoder`.

    Raises:
        ValueError: without a ``query_position``: then the queries would not be boxes.
    """

    def __init__(
        self,
        *,
        query_position: nn.Module | None,
        refine_boxes: bool = True,
        look_forward_twice: bool = True,
        **others: Any,
    ) -> None:
        if query_position is None:
            raise ValueError(
                "DabDecoder modulates its attention by the boxes of the queries: give it a query_position "
                "(querydet.modeling.decoder.BoxPosition) and select boxes, or use ConditionalDecoder"
            )
        super().__init__(
            query_position=query_position,
            refine_boxes=refine_boxes,
            look_forward_twice=look_forward_twice,
            **others,
        )
        self.size_head = xavier_mlp(self.embed_dim, self.embed_dim, 2, num_layers=2)

    def look(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """Positional queries, and the scaled and modulated embedding (B, Q, C) of the boxes' centres."""
        position, sine = super().look(queries, boxes, memory, content, layer)
        assert sine is not None
        wanted = full_precision(self.size_head(content)).sigmoid()  # as (w, h)
        ratio = (wanted / boxes[..., 2:].clamp(min=MIN_SIZE)).flip(-1).to(sine.dtype)  # y first
        return position, (sine.unflatten(-1, (2, -1)) * ratio[..., None]).flatten(-2)
