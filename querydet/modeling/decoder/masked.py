"""The decoder whose queries attend within the masks that they predict (Mask2Former, arXiv 2112.01527, section 3.2).

Each layer reads one level, from coarse to fine and over again. A query attends to the tokens where the mask that it
predicted last is positive; where no token is, to all of the level. Cross-attention comes before self-attention. The
queries predict before the first layer too, from what they learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from querydet.mask_structures import ImageMasks
from querydet.modeling.decoder.attention import SelfAttention
from querydet.modeling.decoder.base import QueryDecoder
from querydet.modeling.decoder.layer import DecoderLayer
from querydet.modeling.geometry import repeat_levels
from querydet.modeling.layers import MultiHeadAttention, make_feed_forward
from querydet.modeling.masks.level_maps import level_padding, level_rows
from querydet.parts import Heads
from querydet.structures import DecoderLayerOutput, QueryBatch, TokenPyramid

ORDER = ("cross_attention", "self_attention", "ffn")


@dataclass(frozen=True, slots=True)
class MaskedPyramid(TokenPyramid):
    """The tokens of all levels, and what makes masks in the size of each."""

    level_masks: tuple[ImageMasks, ...] = ()


class MaskedCrossAttention(MultiHeadAttention):
    """Attention of queries to the tokens of one level that are not blocked.

    Attributes:
        level: index of the level; the decoder sets it.
    """

    references = "masks"
    level = 0

    def attend(self, content: Tensor, position: Tensor, reference: Tensor | None, memory: TokenPyramid) -> Tensor:
        """Return the update (B, Q, C) of the contents.

        Args:
            content: (B, Q, C).
            position: (B, Q, C).
            reference: (B, Q, n) bool, True where a query may not attend to one of the n tokens of the level.
            memory: encoded image features.
        """
        assert reference is not None
        rows, width = level_rows(memory, self.level), self.embed_dim
        value = memory.tokens[:, rows]
        weights, biases = self.in_proj_weight.split(width), self.in_proj_bias.split(width)
        inputs = (content + position, value + memory.position[:, rows], value)
        query, key, value = (
            F.linear(values, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for values, weight, bias in zip(inputs, weights, biases, strict=True)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=~reference[:, None], dropout_p=dropout)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


def masked_decoder_layer(
    *,
    embed_dim: int = 256,
    num_heads: int = 8,
    ffn_dim: int = 2048,
    dropout: float = 0.0,
    activation: str = "relu",
    order: Sequence[str] = ORDER,
) -> DecoderLayer:
    """Make Mask2Former's layer.

    Args:
        embed_dim: width C.
        num_heads: M, of both attentions.
        ffn_dim: hidden width of the feed-forward block.
        dropout: probability after each sub-layer, in the feed-forward block, and of attention weights.
        activation: activation of the feed-forward block, "relu" or "prelu".
        order: the three steps in the order in which they run.

    Raises:
        ValueError: C is not a multiple of M, or for an unknown activation or order.
    """
    return DecoderLayer(
        embed_dim=embed_dim,
        self_attention=SelfAttention(embed_dim, num_heads, dropout),
        cross_attention=MaskedCrossAttention(embed_dim, num_heads, dropout),
        ffn=make_feed_forward(embed_dim, ffn_dim, dropout, activation),
        dropout=dropout,
        order=order,
    )


class MaskedDecoder(QueryDecoder):
    """Layers that attend within masks; no boxes are refined.

    Args:
        layer: the first layer, see `masked_decoder_layer`.
        num_layers: number of layers; 9 in Mask2Former, whose configuration counts the prediction before them too.
        num_levels: L, the number of levels, which layers visit in turn from the coarsest on.
        position_embedding: positions of tokens, added to keys; maps padding (B, H, W) to (B, C, H, W).
        activation_checkpointing: see `querydet.modeling.decoder.base.QueryDecoder`.
    """

    references = "masks"
    attends_in_masks = True

    def __init__(
        self,
        *,
        layer: DecoderLayer,
        position_embedding: nn.Module,
        num_layers: int = 9,
        num_levels: int = 3,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__(
            layer=layer,
            num_layers=num_layers,
            output_norm=True,
            refine_boxes=False,
            activation_checkpointing=activation_checkpointing,
        )
        self.num_levels = num_levels
        self.position_embedding = position_embedding
        self.level_embed = nn.Embedding(num_levels, layer.embed_dim)
        for index, each in enumerate(self.layers):
            assert isinstance(each, DecoderLayer)
            assert isinstance(each.cross_attention, MaskedCrossAttention)
            each.cross_attention.level = self.level_of(index)

    @property
    def num_layers(self) -> int:
        """Number of outputs: that of the learned queries, and one after each layer."""
        return len(self.layers) + 1

    def level_of(self, layer: int) -> int:
        """Return the level that a layer reads; fine levels come first."""
        return self.num_levels - 1 - layer % self.num_levels

    def attention_rows(self, tokens: int, queries: int) -> int:
        """Return the rows of attention maps that a step keeps for an image, counted as rows over all tokens.

        Args:
            tokens: S.
            queries: Q.
        """
        layer = self.first_layer.cross_attention
        assert isinstance(layer, MaskedCrossAttention)
        return -(-queries * layer.num_heads * len(self.layers) // self.num_levels)

    def forward(
        self, queries: QueryBatch, memory: TokenPyramid, heads: Heads, one_to_many: bool = False
    ) -> tuple[DecoderLayerOutput, ...]:
        """Run all layers; the arguments are those of `QueryDecoder.forward`."""
        return super().forward(queries, self.pyramid(memory), heads, one_to_many)

    def pyramid(self, memory: TokenPyramid) -> MaskedPyramid:
        """Return the tokens that the layers attend to: with the decoder's own embedding of levels, and positions."""
        masks = memory.masks
        assert masks is not None
        images = memory.tokens.shape[0]  # not len(), which would fix it in exported programs
        positions = [
            self.position_embedding(level_padding(memory, level)).flatten(2).transpose(1, 2)
            for level in range(self.num_levels)
        ]
        levels = [row.expand(images, -1) for row in self.level_embed.weight]
        tokens = memory.tokens + repeat_levels(levels, memory.level_sizes).to(memory.tokens.dtype)
        return MaskedPyramid(
            tokens=tokens,
            position=torch.cat(positions, 1).to(tokens.dtype),
            padding=memory.padding,
            shapes=memory.shapes,
            valid_ratios=memory.valid_ratios,
            masks=masks,
            level_masks=tuple(masks.resized(shape) for shape in memory.shapes),
        )

    def first_outputs(self, queries: QueryBatch) -> tuple[DecoderLayerOutput, ...]:
        """Return the output for the learned queries, before the first layer."""
        hidden = self.norm(queries.content)
        return (DecoderLayerOutput(hidden=hidden, reference_boxes=queries.boxes, base_boxes=queries.boxes),)

    def positional_inputs(
        self, queries: QueryBatch, boxes: Tensor, memory: TokenPyramid, content: Tensor, layer: int
    ) -> tuple[Tensor, Tensor]:
        """Return the learned positions (B, Q, C), and the blocked pairs (B, Q, n) of the level that the layer reads.

        The arguments are those of `QueryDecoder.positional_inputs`.
        """
        assert isinstance(memory, MaskedPyramid)
        return self.position(queries, boxes, memory, content, layer), self.blocked(memory, content, layer)

    @torch.no_grad()
    def blocked(self, memory: MaskedPyramid, content: Tensor, layer: int) -> Tensor:
        """Return the pairs (B, Q, n) bool of queries and tokens of a level that are blocked: outside of masks.

        A query whose mask is negative everywhere may attend to the whole image.
        """
        level = self.level_of(layer)
        masks = memory.level_masks[level].of_batch(self.norm(content)).flatten(2)
        padding = memory.padding[:, None, level_rows(memory, level)]
        outside = (masks < 0) | padding
        return torch.where(outside.all(2, keepdim=True), padding, outside)
