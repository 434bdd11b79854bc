"""The dense encoder: every token attends to every other one (DETR, arXiv 2005.12872, appendix A.3)."""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from querydet.modeling.encoder.base import EncoderStack
from querydet.modeling.layers import Dropout, make_feed_forward, multi_head_attention, xavier_mlp
from querydet.modeling.layers.stack import run_layer
from querydet.structures import TokenPyramid


class DenseEncoderLayer(nn.Module):
    """Self-attention of all tokens and a feed-forward block, each followed by its norm.

    Args:
        embed_dim: width C.
        num_heads: of the attention.
        ffn_dim: hidden width of the feed-forward block.
        dropout: of the attention weights and of every update.
        activation: of the feed-forward block, "relu" or "prelu" (released code of DAB-DETR).

    Raises:
        ValueError: C is not a multiple of the heads, or for another activation.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.attention = multi_head_attention(embed_dim, num_heads, dropout)
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = Dropout(dropout)
        self.ffn = make_feed_forward(embed_dim, ffn_dim, dropout, activation)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier weights, as the released code gives every matrix of its transformers."""
        nn.init.xavier_uniform_(self.attention.out_proj.weight)

    def forward(self, tokens: Tensor, features: TokenPyramid) -> Tensor:
        """Update the tokens (B, S, C); padding is attended to by none."""
        query = tokens + features.position
        update = self.attention(query, query, tokens, key_padding_mask=features.padding, need_weights=False)[0]
        return self.ffn(self.norm(tokens + self.dropout(update)))


class DenseEncoder(EncoderStack):
    """A stack of :class:`DenseEncoderLayer`."""

    def forward(self, features: TokenPyramid) -> TokenPyramid:
        """Return the features with encoded tokens."""
        tokens = features.tokens
        for layer in self.layers:
            tokens = run_layer(layer, self.activation_checkpointing, tokens, self.placed(tokens, features))
        return replace(features, tokens=tokens)

    def placed(self, tokens: Tensor, features: TokenPyramid) -> TokenPyramid:
        """The features with the positions that the next layer adds to tokens (B, S, C): always the same."""
        return features


class ScaledDenseEncoder(DenseEncoder):
    """A dense encoder whose tokens scale their positions before every layer (released code of DAB-DETR).

    Args:
        layer, stack: see :class:`querydet.modeling.encoder.base.EncoderStack`.
    """

    def __init__(self, *, layer: DenseEncoderLayer, **stack: Any) -> None:
        super().__init__(layer=layer, **stack)
        self.query_scale = xavier_mlp(layer.embed_dim, layer.embed_dim, layer.embed_dim, num_layers=2)

    def placed(self, tokens: Tensor, features: TokenPyramid) -> TokenPyramid:
        """The features with scaled positions."""
        return replace(features, position=features.position * self.query_scale(tokens))
