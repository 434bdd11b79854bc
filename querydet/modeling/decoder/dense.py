"""The decoders with standard attention: DETR's, Conditional DETR's and DAB-DETR's.

They attend to one map, or with the layer of `querydet.modeling.decoder.levelwise` to several, one by one.

They share the stack of layers (`querydet.modeling.decoder.base`) and differ in how the position of a query enters the
cross-attention. DETR (arXiv 2005.12872, section 3.2) adds a learned position to the content. Conditional DETR (arXiv
2108.06152, section 3) puts the sine embedding of a reference point beside the content. DAB-DETR (arXiv 2201.12329,
section 4) does so with the centre of a box, modulates the embedding by width and height (section 4.4), and refines the
box.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from querydet.modeling.boxes import full_precision
from querydet.modeling.decoder.attention import (
    ConditionalQueryAttention,
    ConditionalTokenAttention,
    CrossAttention,
    SelfAttention,
)
from querydet.modeling.decoder.base import QueryDecoder
from querydet.modeling.decoder.layer import DecoderLayer
from querydet.modeling.decoder.one_to_many import STEPS, OneToManyBranch
from querydet.modeling.decoder.second_stream import SecondStream
from querydet.modeling.layers import make_feed_forward, xavier_mlp
from querydet.modeling.layers.position_embedding import BOX_TEMPERATURE, sine_embedding
from querydet.structures import QueryBatch, TokenPyramid

TWO_PI = 6.283185307179586
MIN_SIZE = 1e-6  # least size of a box that the embedding is divided by; ours: the released code has no such limit


def detr_decoder_layer(
    *,
    embed_dim: int = 256,
    num_heads: int = 8,
    ffn_dim: int = 2048,
    dropout: float = 0.0,
    activation: str = "relu",
    order: Sequence[str] = STEPS,
    one_to_many: OneToManyBranch | None = None,
) -> DecoderLayer:
    """Make DETR's layer: positions are added to contents, of queries and of tokens.

    Args:
        embed_dim: width C.
        num_heads: M, of both attentions.
        ffn_dim: hidden width of the feed-forward block.
        dropout: probability after each sub-layer, in the feed-forward block, and of attention weights.
        activation: activation of the feed-forward block, "relu" or "prelu".
        order: the three steps in the order in which they run.
        one_to_many: branch for one-to-many predictions, in training; None: none.

    Raises:
        ValueError: C is not a multiple of M, or for an unknown activation or order.
    """
    return DecoderLayer(
        embed_dim=embed_dim,
        self_attention=SelfAttention(embed_dim, num_heads, dropout),
        cross_attention=CrossAttention(embed_dim, num_heads, dropout),
        ffn=make_feed_forward(embed_dim, ffn_dim, dropout, activation),
        dropout=dropout,
        order=order,
        one_to_many=one_to_many,
    )


def conditional_decoder_layer(
    *,
    embed_dim: int = 256,
    num_heads: int = 8,
    ffn_dim: int = 2048,
    dropout: float = 0.0,
    activation: str = "relu",
    order: Sequence[str] = STEPS,
    one_to_many: OneToManyBranch | None = None,
) -> DecoderLayer:
    """Make the layer of Conditional DETR and DAB-DETR: contents and positions have projections of their own.

    Args:
        embed_dim: width C.
        num_heads: M, of both attentions.
        ffn_dim: hidden width of the feed-forward block.
        dropout: probability after each sub-layer, in the feed-forward block, and of attention weights.
        activation: activation of the feed-forward block, "relu" or "prelu" (released code of DAB-DETR).
        order: the three steps in the order in which they run.
        one_to_many: branch for one-to-many predictions, in training; None: none.

    Raises:
        ValueError: C is not a multiple of M, or for an unknown activation or order.
    """
    return DecoderLayer(
        embed_dim=embed_dim,
        self_attention=ConditionalQueryAttention(embed_dim, num_heads, dropout),
        cross_attention=ConditionalTokenAttention(embed_dim, num_heads, dropout),
        ffn=make_feed_forward(embed_dim, ffn_dim, dropout, activation),
        dropout=dropout,
        order=order,
        one_to_many=one_to_many,
    )


class DenseDecoder(QueryDecoder):
    """A decoder whose queries attend to every token; without box refinement by default.

    Args:
        layer, num_layers, query_position, output_norm, refine_boxes, look_forward_twice, activation_checkpointing,
            second_stream: see `querydet.modeling.decoder.base.QueryDecoder`.
    """

    def __init__(
        self,
        *,
        layer: DecoderLayer,
        num_layers: int = 6,
        query_position: nn.Module | None = None,
        output_norm: bool = True,
        refine_boxes: bool = False,
        look_forward_twice: bool = False,
        activation_checkpointing: bool = False,
        second_stream: SecondStream | None = None,
    ) -> None:
        super().__init__(
            layer=layer,
            num_layers=num_layers,
            query_position=query_position,
            output_norm=output_norm,
            refine_boxes=refine_boxes,
            look_forward_twice=look_forward_twice,
            activation_checkpointing=activation_checkpointing,
            second_stream=second_stream,
        )
        self.add_parts(layer.embed_dim)

    @property
    def num_levels(self) -> int:
        """L, the number of levels that the queries attend to: one, unless the attention takes them level by level."""
        return getattr(self.first_layer.cross_attention, "num_levels", 1)

    def add_parts(self, embed_dim: int) -> None:
        """Add the parts that a kind of decoder has beside its layers."""

    def attention_rows(self, tokens: int, queries: int) -> int:
        """Return the number of rows of attention maps over all tokens that a training step keeps for an image.

        Args:
            tokens: S, of no effect in a decoder.
            queries: Q.
        """
        layers = 1 if self.activation_checkpointing else self.num_layers
        queries *= 2 if self.has_second_stream else 1
        heads = self.first_layer.cross_attention.num_heads  # type: ignore[attr-defined]
        return layers * heads * queries


class DetrDecoder(DenseDecoder):
    """DETR's decoder: queries have fixed positional parts and no references."""

    references = "none"

    def positional_inputs(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return positional queries, and no reference."""
        return self.position(queries, boxes, memory, content, layer), None


class ConditionalDecoder(DenseDecoder):
    """The decoder of Conditional DETR: the content scales the embedded reference point, from the second layer on.

    As in the released code, the cross-attention adds positional queries to contents in the first layer only.
    """

    references = "embedded"

    def add_parts(self, embed_dim: int) -> None:
        """Add the scale of the embedded references."""
        for layer in self.layers[1:]:
            layer.cross_attention.query_position = None  # type: ignore[union-attr]
        self.query_scale = xavier_mlp(embed_dim, embed_dim, embed_dim, num_layers=2)

    def positional_inputs(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return positional queries, and the scaled embedding (B, Q, C) of the points or of the boxes' centres."""
        angles = full_precision(boxes[..., :2]).flip(-1) * TWO_PI  # y first
        sine = sine_embedding(angles, self.embed_dim // 2, BOX_TEMPERATURE).flatten(-2).to(content.dtype)
        scaled = sine if layer == 0 else sine * self.query_scale(content)
        return self.position(queries, boxes, memory, content, layer), scaled


class DabDecoder(ConditionalDecoder):
    """The decoder of DAB-DETR: queries are boxes, refined layer by layer, whose size modulates the cross-attention.

    The embedding of x is multiplied by a predicted width over that of the box, the embedding of y by a predicted height
    over that of the box (section 4.4, equation 6). As in the released code, a prediction refines the box of the layer
    before with its gradient (which DINO calls look forward twice).

    Args:
        query_position: makes positional queries from boxes, such as `querydet.modeling.decoder.BoxPosition`.
        layer, num_layers, output_norm, refine_boxes, look_forward_twice, activation_checkpointing, second_stream: see
            `querydet.modeling.decoder.base.QueryDecoder`.

    Raises:
        ValueError: there is no `query_position`, so that the queries would not be boxes.
    """

    def __init__(
        self,
        *,
        layer: DecoderLayer,
        query_position: nn.Module | None,
        num_layers: int = 6,
        output_norm: bool = True,
        refine_boxes: bool = True,
        look_forward_twice: bool = True,
        activation_checkpointing: bool = False,
        second_stream: SecondStream | None = None,
    ) -> None:
        if query_position is None:
            raise ValueError(
                "DabDecoder modulates its attention by the boxes of the queries: give it a query_position "
                "(querydet.modeling.decoder.BoxPosition) and select boxes, or use ConditionalDecoder"
            )
        super().__init__(
            layer=layer,
            num_layers=num_layers,
            query_position=query_position,
            output_norm=output_norm,
            refine_boxes=refine_boxes,
            look_forward_twice=look_forward_twice,
            activation_checkpointing=activation_checkpointing,
            second_stream=second_stream,
        )

    def add_parts(self, embed_dim: int) -> None:
        """Add the scale of the embedded references, and the head that predicts sizes."""
        super().add_parts(embed_dim)
        self.size_head = xavier_mlp(embed_dim, embed_dim, 2, num_layers=2)

    def positional_inputs(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return positional queries, and the scaled and modulated embedding (B, Q, C) of the boxes' centres."""
        position, sine = super().positional_inputs(queries, boxes, memory, content, layer)
        assert sine is not None
        size = full_precision(self.size_head(content)).sigmoid()  # as (w, h)
        ratio = (size / boxes[..., 2:].clamp(min=MIN_SIZE)).flip(-1).to(sine.dtype)  # y first
        return position, (sine.unflatten(-1, (2, -1)) * ratio[..., None]).flatten(-2)
