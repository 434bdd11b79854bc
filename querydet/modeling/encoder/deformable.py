"""The deformable encoder: every token attends to a few points of every level (arXiv 2010.04159, section 4.1)."""

from dataclasses import replace

from torch import Tensor

from querydet.modeling.encoder.base import EncoderLayer, EncoderStack
from querydet.modeling.geometry import pixel_centres, valid_sizes
from querydet.modeling.layers import MultiScaleDeformableAttention, make_feed_forward
from querydet.modeling.layers.stack import run_layer
from querydet.structures import TokenPyramid


class DeformableTokenAttention(MultiScaleDeformableAttention):
    """Attention of tokens to a few points around them, on every level."""

    def attend(self, tokens: Tensor, features: TokenPyramid, reference: Tensor | None) -> Tensor:
        """Return the update (B, S, C) of tokens (B, S, C) that sample around reference points (B, S, L, 2)."""
        assert reference is not None
        return self(tokens + features.position, reference, tokens, features.shapes, features.padding)


def deformable_encoder_layer(
    *,
    embed_dim: int = 256,
    num_heads: int = 8,
    ffn_dim: int = 2048,
    dropout: float = 0.0,
    num_levels: int = 4,
    num_points: int = 4,
    activation: str = "relu",
) -> EncoderLayer:
    """Make a layer with deformable self-attention.

    Args:
        embed_dim: width C.
        num_heads: M.
        ffn_dim: hidden width of the feed-forward block.
        dropout: probability after the attention and in the feed-forward block.
        num_levels: L.
        num_points: P, the number of sampling points of a head on each level.
        activation: activation of the feed-forward block, "relu" or "prelu".

    Raises:
        ValueError: C is not a multiple of M, or for another activation.
    """
    return EncoderLayer(
        embed_dim=embed_dim,
        attention=DeformableTokenAttention(embed_dim, num_heads, num_levels, num_points),
        ffn=make_feed_forward(embed_dim, ffn_dim, dropout, activation),
        dropout=dropout,
    )


class DeformableEncoder(EncoderStack):
    """A stack of layers with deformable attention."""

    @property
    def num_levels(self) -> int | None:
        """L, the number of levels that the tokens sample."""
        return getattr(self.first_layer.attention, "num_levels", None)

    def forward(self, features: TokenPyramid) -> TokenPyramid:
        """Return the features with encoded tokens."""
        centres = pixel_centres(features.shapes, features.tokens.device) / valid_sizes(features)
        reference_points = centres[:, :, None] * features.valid_ratios[:, None]
        tokens = features.tokens
        for layer in self.layers:
            tokens = run_layer(layer, self.activation_checkpointing, tokens, features, reference_points)
        return replace(features, tokens=tokens)
