"""The deformable encoder: every token attends to a few points of every level (arXiv 2010.04159, section 4.1)."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from querydet.layers import Dropout, FeedForward, MultiScaleDeformableAttention
from querydet.layers.stack import run_layer, stack_layers
from querydet.structures import FeaturePyramid


def pixel_centres(shapes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Centres of all tokens as (S, 2) in (x, y), in pixels of the token's own level: 0.5, 1.5, ..."""
    centres = []
    for height, width in shapes:
        y = torch.arange(height, device=device, dtype=torch.float32) + 0.5
        x = torch.arange(width, device=device, dtype=torch.float32) + 0.5
        centres.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1))
    return torch.cat(centres)


def valid_sizes(features: FeaturePyramid) -> Tensor:
    """Size of the image part of each token's level, in pixels of that level: (B, S, 2) as (w, h)."""
    valid = [
        torch.stack([ratios[:, 0] * width, ratios[:, 1] * height], dim=-1).round()  # undoes the division exactly
        for ratios, (height, width) in zip(features.valid_ratios.unbind(1), features.shapes, strict=True)
    ]
    return repeat_levels(valid, features.level_sizes)


def repeat_levels(values: Sequence[Tensor], level_sizes: Sequence[int]) -> Tensor:
    """Give every token the value of its level.

    Args:
        values: of each level, (B, n).
        level_sizes: tokens of each level. They may be symbols: nothing here needs their value, so that an exported
            model works for all sizes.

    Returns:
        (B, S, n).
    """
    repeated = [value[:, None].expand(-1, size, -1) for value, size in zip(values, level_sizes, strict=True)]
    return torch.cat(repeated, dim=1)


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

    def forward(self, tokens: Tensor, reference_points: Tensor, features: FeaturePyramid) -> Tensor:
        """Update the tokens (B, S, C), which sample around reference_points (B, S, L, 2)."""
        update = self.attention(tokens + features.position, reference_points, tokens, features.shapes, features.padding)
        return self.ffn(self.norm(tokens + self.dropout(update)))


class EncoderStack(nn.Module):
    """What all encoders have in common: a stack of layers.

    Args:
        layer: the first layer; the others are made like it.
        num_layers: number of layers.
        activation_checkpointing: recompute each layer in the backward pass instead of keeping its activations.
    """

    def __init__(self, *, layer: nn.Module, num_layers: int = 6, activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.layers = stack_layers(layer, num_layers)
        self.activation_checkpointing = activation_checkpointing


class DeformableEncoder(EncoderStack):
    """A stack of :class:`EncoderLayer`."""

    def forward(self, features: FeaturePyramid) -> FeaturePyramid:
        """Return the features with encoded tokens."""
        centres = pixel_centres(features.shapes, features.tokens.device) / valid_sizes(features)
        reference_points = centres[:, :, None] * features.valid_ratios[:, None]
        tokens = features.tokens
        for layer in self.layers:
            tokens = run_layer(layer, self.activation_checkpointing, tokens, reference_points, features)
        return replace(features, tokens=tokens)
