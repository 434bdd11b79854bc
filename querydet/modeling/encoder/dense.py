"""Encoders with standard attention: every token attends to every other one (DETR, arXiv 2005.12872, appendix A.3)."""

from dataclasses import replace

from torch import Tensor

from querydet.modeling.encoder.base import EncoderLayer, EncoderStack
from querydet.modeling.layers import MultiHeadAttention, make_feed_forward, xavier_mlp
from querydet.modeling.layers.stack import run_layer
from querydet.structures import TokenPyramid


class DenseTokenAttention(MultiHeadAttention):
    """Attention of tokens to all tokens."""

    def attend(self, tokens: Tensor, features: TokenPyramid, reference: Tensor | None) -> Tensor:
        """Return the update (B, S, C) of tokens (B, S, C), none of which attends to padding."""
        query = tokens + features.position
        return self(query, query, tokens, key_padding_mask=features.padding, need_weights=False)[0]


def dense_encoder_layer(
    *,
    embed_dim: int = 256,
    num_heads: int = 8,
    ffn_dim: int = 2048,
    dropout: float = 0.0,
    activation: str = "relu",
) -> EncoderLayer:
    """Make a layer with standard self-attention.

    Args:
        embed_dim: width C.
        num_heads: M.
        ffn_dim: hidden width of the feed-forward block.
        dropout: probability after the attention, in the feed-forward block, and of attention weights.
        activation: activation of the feed-forward block, "relu" or "prelu" (released code of DAB-DETR).

    Raises:
        ValueError: C is not a multiple of M, or for another activation.
    """
    return EncoderLayer(
        embed_dim=embed_dim,
        attention=DenseTokenAttention(embed_dim, num_heads, dropout),
        ffn=make_feed_forward(embed_dim, ffn_dim, dropout, activation),
        dropout=dropout,
    )


class DenseEncoder(EncoderStack):
    """A stack of layers with standard attention over one map."""

    num_levels = 1

    def forward(self, features: TokenPyramid) -> TokenPyramid:
        """Return the features with encoded tokens."""
        tokens = features.tokens
        for layer in self.layers:
            tokens = run_layer(layer, self.activation_checkpointing, tokens, self.with_positions(tokens, features))
        return replace(features, tokens=tokens)

    def with_positions(self, tokens: Tensor, features: TokenPyramid) -> TokenPyramid:
        """Return the features with the positions that the next layer adds to tokens (B, S, C).

        Here every layer adds the same positions.
        """
        return features

    def attention_rows(self, tokens: int, queries: int) -> int:
        """Return the number of rows of attention maps over all tokens that a training step keeps for an image.

        Args:
            tokens: S.
            queries: Q, of no effect in an encoder.
        """
        layers = 1 if self.activation_checkpointing else len(self.layers)
        return layers * self.first_layer.attention.num_heads * tokens  # type: ignore[attr-defined]


class ScaledDenseEncoder(DenseEncoder):
    """An encoder in which each token scales its position before every layer (released code of DAB-DETR).

    Args:
        layer, num_layers, activation_checkpointing: see `querydet.modeling.encoder.base.EncoderStack`.
    """

    def __init__(self, *, layer: EncoderLayer, num_layers: int = 6, activation_checkpointing: bool = False) -> None:
        super().__init__(layer=layer, num_layers=num_layers, activation_checkpointing=activation_checkpointing)
        self.query_scale = xavier_mlp(layer.embed_dim, layer.embed_dim, layer.embed_dim, num_layers=2)

    def with_positions(self, tokens: Tensor, features: TokenPyramid) -> TokenPyramid:
        """Return the features with scaled positions."""
        return replace(features, position=features.position * self.query_scale(tokens))
