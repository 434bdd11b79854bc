"""The neck, and all that depends on the padding of a batch: where there is none, it costs nothing."""

import torch
from torch import Tensor, nn

from querydet.fusion.exchange import Exchange
from querydet.fusion.folding import fold
from querydet.modeling.layers import SinePositionEmbedding
from querydet.modeling.layers.padding import BlankPadding
from querydet.modeling.neck import Projection, masked_group_norm

SIZES = 32  # sizes of maps whose positions are kept


class FusedBlank(BlankPadding):
    """Sets values in the padding to zero, where there is some."""

    @classmethod
    def make(cls, module: BlankPadding, exchange: Exchange) -> nn.Module:
        """Return the fused form."""
        return cls(module.dim)

    def forward(self, values: Tensor, padding: Tensor) -> Tensor:
        """Return the values, zero in the padding; see `BlankPadding`."""
        return super().forward(values, padding) if padding.any() else values


class FusedPosition(nn.Module):
    """Position embeddings, of which those of maps without padding are kept.

    Args:
        embedding: makes them from padding.
    """

    def __init__(self, embedding: SinePositionEmbedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.kept: dict[torch.Size, Tensor] = {}

    @classmethod
    def make(cls, module: SinePositionEmbedding, exchange: Exchange) -> nn.Module:
        """Return the fused form."""
        return cls(module)

    def forward(self, padding: Tensor) -> Tensor:
        """Embed the pixels of maps with padding (B, H, W) as (B, C, H, W); see `SinePositionEmbedding`."""
        if padding.any():
            return self.embedding(padding)
        kept = self.kept.get(padding.shape)  # looked up once, as several threads may detect
        if kept is None:
            if len(self.kept) >= SIZES:
                self.kept.clear()
            kept = self.kept[padding.shape] = self.embedding(padding)
        return kept


class FusedProjection(nn.Module):
    """A convolution and a group norm, which leaves padding out only where there is some.

    Args:
        conv: the convolution.
        norm: the norm.
    """

    def __init__(self, conv: nn.Module, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    @classmethod
    def make(cls, module: Projection, exchange: Exchange) -> nn.Module | None:
        """Fuse a projection of the neck."""
        folded = fold(module.conv)
        return None if folded is None else cls(exchange.layers.conv(folded), module.norm)

    def forward(self, features: Tensor, padding: Tensor | None = None) -> Tensor:
        """Map (B, in, H, W) to (B, C, H / stride, W / stride); see `querydet.modeling.neck.Projection`."""
        projected = self.conv(features)
        if padding is None or not padding.any():
            # not through the module, which refuses a map of one pixel
            return torch.group_norm(projected, self.norm.num_groups, self.norm.weight, self.norm.bias, self.norm.eps)
        return masked_group_norm(projected, padding, self.norm)
