"""What the neck makes of an image's size alone."""

import torch
from torch import Tensor, nn

from querydet.fusion.exchange import Exchange
from querydet.modeling.geometry import may_have_padding
from querydet.modeling.layers import SinePositionEmbedding

SIZES = 32  # sizes of maps whose positions are kept


class FusedPosition(SinePositionEmbedding):
    """Position embeddings, of which those of maps without padding are kept.

    Args:
        embed_dim, temperature, offset, temperature_x: see `SinePositionEmbedding`.
    """

    def __init__(self, embed_dim: int, temperature: float, offset: float, temperature_x: float) -> None:
        super().__init__(embed_dim, temperature, offset, temperature_x)
        self.kept: dict[torch.Size, Tensor] = {}

    @classmethod
    def make(cls, module: SinePositionEmbedding, exchange: Exchange) -> nn.Module:
        """Return the fused form."""
        return cls(module.embed_dim, module.temperature, module.offset, module.temperature_x)

    def forward(self, padding: Tensor) -> Tensor:
        """Embed the pixels of maps with padding (B, H, W) as (B, C, H, W); see `SinePositionEmbedding`."""
        if may_have_padding(padding):
            return super().forward(padding)
        kept = self.kept.get(padding.shape)  # looked up once, as several threads may detect
        if kept is None:
            if len(self.kept) >= SIZES:
                self.kept.clear()
            kept = self.kept[padding.shape] = super().forward(padding)
        return kept
