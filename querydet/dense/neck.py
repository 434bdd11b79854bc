"""One backbone map as the token sequence of a dense transformer (DETR, arXiv 2005.12872, section 3.2)."""

from collections.abc import Mapping

from torch import Tensor, nn

from querydet.neck import resize_mask, valid_ratio
from querydet.structures import FeaturePyramid


class SingleMapNeck(nn.Module):
    """Projects one backbone map by a 1x1 convolution, without a norm, and flattens it.

    Padding reaches no other token: the convolution is a pixel's own, and attention leaves padded tokens out.

    Args:
        in_channels: channels of the one map to use, by its name.
        position_embedding: maps padding (B, H, W) to (B, C, H, W).
        embed_dim: width C.
        num_levels: 1; there for parts that are told how many levels there are.

    Raises:
        ValueError: for another number of maps or levels than one.
    """

    def __init__(
        self,
        *,
        in_channels: Mapping[str, int],
        position_embedding: nn.Module,
        embed_dim: int = 256,
        num_levels: int = 1,
    ) -> None:
        super().__init__()
        if num_levels != 1:
            raise ValueError(
                f"SingleMapNeck makes one level, found num_levels={num_levels}: set model.neck.num_levels=1, or take "
                "querydet.neck.MultiScaleNeck with deformable attention"
            )
        self.num_levels, self.embed_dim = num_levels, embed_dim
        if len(in_channels) != 1:
            raise ValueError(
                f"SingleMapNeck takes one backbone map, found {list(in_channels)} in in_channels: name one, or "
                "take querydet.neck.MultiScaleNeck with deformable attention"
            )
        self.in_channels = dict(in_channels)
        ((self.source, width),) = self.in_channels.items()
        self.projection = nn.Conv2d(width, embed_dim, 1)
        self.position_embedding = position_embedding

    def forward(self, features: Mapping[str, Tensor], padding: Tensor) -> FeaturePyramid:
        """Build the token sequence.

        Args:
            features: backbone maps by name; one of them is used, (B, in_channels, H, W).
            padding: (B, image height, image width) bool, True = padding.
        """
        projected = self.projection(features[self.source])
        mask = resize_mask(padding, projected.shape[-2:])
        return FeaturePyramid(
            tokens=projected.flatten(2).transpose(1, 2),
            position=self.position_embedding(mask).flatten(2).transpose(1, 2).to(projected.dtype),
            padding=mask.flatten(1),
            shapes=((projected.shape[-2], projected.shape[-1]),),
            valid_ratios=valid_ratio(mask)[:, None],
        )
