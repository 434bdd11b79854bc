"""The deformable encoder: every token attends to a few points of every level (arXiv 2010.04159, section 4.1)."""

from dataclasses import replace

from torch import Tensor, nn

from querydet.modeling.encoder.base import EncoderStack
from querydet.modeling.geometry import pixel_centres, valid_sizes
from querydet.modeling.layers import Dropout, FeedForward, MultiScaleDeformableAttention
from querydet.modeling.layers.stack import run_layer
from querydet.structures import TokenPyramid


class EncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward block, each followed by its norm."""

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_heads: int = 8,
        ffn_dim: int = 2048,
        dropout: float = 0.0,
        num_levels: int = 4,
        num_points: int = 4,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.attention = MultiScaleDeformableAttention(embed_dim, num_heads, num_levels, num_points)
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = Dropout(dropout)
        self.ffn = FeedForward(embed_dim, ffn_dim, dropout)

    def forward(self, tokens: Tensor, reference_points: Tensor, features: TokenPyramid) -> Tensor:
        """Update the tokens (B, S, C), which sample around reference_points (B, S, L, 2)."""
        update = self.attention(tokens + features.position, reference_points, tokens, features.shapes, features.padding)
        return self.ffn(self.norm(tokens + self.dropout(update)))


class DeformableEncoder(EncoderStack):
    """A stack of :class:`EncoderLayer`."""

    def forward(self, features: TokenPyramid) -> TokenPyramid:
        """Return the features with encoded tokens."""
        centres = pixel_centres(features.shapes, features.tokens.device) / valid_sizes(features)
        reference_points = centres[:, :, None] * features.valid_ratios[:, None]
        tokens = features.tokens
        for layer in self.layers:
            tokens = run_layer(layer, self.activation_checkpointing, tokens, reference_points, features)
        return replace(features, tokens=tokens)
