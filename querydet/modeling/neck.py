"""From the feature maps of a backbone to one sequence of tokens.

Deformable DETR, section 4.1 and appendix A.2 (arXiv 2010.04159): a 1x1 convolution and a group norm for each backbone
level; further, coarser levels come from 3x3 convolutions of stride 2, the first of them on the raw last backbone map.

In the released codes the padding of a batch enters the statistics of the norm and the 3x3 convolutions, so that an
image's features depend on the other images of its batch. Here that is an option, which is off by default.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from querydet.modeling.boxes import full_precision
from querydet.modeling.geometry import may_have_padding, resize_mask, valid_ratio
from querydet.modeling.layers.padding import BlankPadding
from querydet.structures import TokenPyramid

NUM_GROUPS = 32  # of the group norm, in all released code


class Projection(nn.Module):
    """A convolution to the width of the transformer, and a group norm."""

    def __init__(
        self, in_channels: int, embed_dim: int, kernel_size: int, stride: int = 1, conv_init: str = "xavier"
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, embed_dim, kernel_size, stride, padding=kernel_size // 2)
        self.norm = nn.GroupNorm(NUM_GROUPS, embed_dim)
        if conv_init == "xavier":
            nn.init.xavier_uniform_(self.conv.weight)
            assert self.conv.bias is not None
            nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor, padding: Tensor | None = None) -> Tensor:
        """Map (B, in_channels, H, W) to (B, C, H / stride, W / stride).

        Args:
            features: a map; with `padding`, it has to be zero in the padding.
            padding: (B, H / stride, W / stride) bool, True = padding: left out of the statistics and set to zero; None:
                the padding counts like the image.
        """
        projected = self.conv(features)
        if padding is None:
            return self.norm(projected)
        if may_have_padding(padding):
            return masked_group_norm(projected, padding, self.norm)
        # the module refuses a map of one pixel
        return torch.group_norm(projected, self.norm.num_groups, self.norm.weight, self.norm.bias, self.norm.eps)


def masked_group_norm(values: Tensor, padding: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Normalise padded maps by the statistics of their image part, as a group norm does; the padding becomes zero.

    Args:
        values: (B, C, H, W).
        padding: (B, H, W) bool, True = padding.
        norm: gives the number of groups, the scale and the shift.
    """
    valid = (~padding)[:, None, None]
    grouped = full_precision(values).unflatten(1, (norm.num_groups, -1)) * valid  # (B, groups, C / groups, H, W)
    count = (valid.sum((2, 3, 4), keepdim=True) * grouped.shape[2]).clamp(min=1)
    mean = grouped.sum((2, 3, 4), keepdim=True) / count
    centred = (grouped - mean) * valid
    variance = centred.square().sum((2, 3, 4), keepdim=True) / count
    normed = (centred * torch.rsqrt(variance + norm.eps)).flatten(1, 2).to(values.dtype)
    scaled = normed * norm.weight[:, None, None] + norm.bias[:, None, None]
    return scaled.masked_fill(padding[:, None], 0)


class MultiScaleNeck(nn.Module):
    """Projects backbone maps to one width, adds coarser levels, and flattens all of them.

    Args:
        in_channels: channels of each backbone map to use, by its name, fine to coarse.
        num_levels: L, at least the number of backbone maps.
        position_embedding: maps padding (B, H, W) to (B, C, H, W).
        embed_dim: width C.
        ignore_padding: whether padding is left out of convolutions and norms; the released codes do not.
        conv_init: initial weights of the convolutions, "xavier" with zero biases (most released codes) or "torch" for
            PyTorch's own (released code of DN-DETR with dense decoders).

    Raises:
        ValueError: when there are fewer levels than backbone maps, C does not divide into the norm's groups, or for an
            unknown initialisation.
    """

    def __init__(
        self,
        *,
        in_channels: Mapping[str, int],
        num_levels: int,
        position_embedding: nn.Module,
        embed_dim: int = 256,
        ignore_padding: bool = True,
        conv_init: str = "xavier",
    ) -> None:
        super().__init__()
        if conv_init not in ("xavier", "torch"):
            raise ValueError(f"conv_init must be 'xavier' or 'torch', found {conv_init!r}")
        if num_levels < len(in_channels):
            raise ValueError(f"num_levels is {num_levels}, fewer than the {len(in_channels)} maps in in_channels")
        if embed_dim % NUM_GROUPS:
            raise ValueError(f"embed_dim must be a multiple of {NUM_GROUPS} for the group norm, found {embed_dim}")
        self.in_channels, self.embed_dim = dict(in_channels), embed_dim
        widths = list(self.in_channels.values())
        extra_widths = [widths[-1]] + [embed_dim] * (num_levels - len(widths) - 1)
        extra_widths = extra_widths[: num_levels - len(widths)]
        self.projections = nn.ModuleList(
            Projection(width, embed_dim, kernel_size=1, conv_init=conv_init) for width in widths
        )
        self.extra_projections = nn.ModuleList(
            Projection(width, embed_dim, kernel_size=3, stride=2, conv_init=conv_init) for width in extra_widths
        )
        self.position_embedding = position_embedding
        self.ignore_padding = ignore_padding
        self.blank = BlankPadding(dim=1)
        self.level_embed = nn.Parameter(torch.randn(num_levels, embed_dim))

    @property
    def num_levels(self) -> int:
        """L, the number of levels."""
        return len(self.level_embed)

    def project(self, features: Mapping[str, Tensor], padding: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Turn backbone maps by name into L maps (B, C, H, W), and padding into L masks (B, H, W)."""
        maps: list[Tensor] = []
        masks: list[Tensor] = []
        for name, projection in zip(self.in_channels, self.projections, strict=True):
            masks.append(resize_mask(padding, features[name].shape[-2:]))
            source = self.blank(features[name], masks[-1]) if self.ignore_padding else features[name]
            maps.append(projection(source, masks[-1] if self.ignore_padding else None))
        for projection in self.extra_projections:
            height, width = source.shape[-2:]
            masks.append(resize_mask(padding, ((height + 1) // 2, (width + 1) // 2)))
            source = projection(source, masks[-1] if self.ignore_padding else None)
            maps.append(source)
        return maps, masks

    def forward(self, features: Mapping[str, Tensor], padding: Tensor) -> TokenPyramid:
        """Build the token sequence.

        Args:
            features: backbone maps by name, (B, in_channels[name], H, W).
            padding: (B, image height, image width) bool, True = padding.
        """
        maps, masks = self.project(features, padding)
        positions = [
            self.position_embedding(mask) + embed[:, None, None]
            for mask, embed in zip(masks, self.level_embed, strict=True)
        ]
        return TokenPyramid(
            tokens=_flatten(maps),
            position=_flatten(positions).to(maps[0].dtype),
            padding=torch.cat([mask.flatten(1) for mask in masks], dim=1),
            shapes=tuple((level.shape[-2], level.shape[-1]) for level in maps),
            valid_ratios=torch.stack([valid_ratio(mask) for mask in masks], dim=1),
        )


def _flatten(maps: list[Tensor]) -> Tensor:
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)


class SingleMapNeck(nn.Module):
    """Projects one backbone map by a 1x1 convolution, without a norm, and flattens it.

    Padding affects no other token: a 1x1 convolution reads one pixel, and attention leaves padded tokens out.

    Args:
        in_channels: name of the map to use, and its channels.
        position_embedding: maps padding (B, H, W) to (B, C, H, W).
        embed_dim: width C.
        num_levels: 1, the only value; configs refer to it as to that of `MultiScaleNeck`.

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
                "querydet.modeling.neck.MultiScaleNeck with deformable attention"
            )
        self.num_levels, self.embed_dim = num_levels, embed_dim
        if len(in_channels) != 1:
            raise ValueError(
                f"SingleMapNeck takes one backbone map, found {list(in_channels)} in in_channels: name one, or "
                "take querydet.modeling.neck.MultiScaleNeck with deformable attention"
            )
        self.in_channels = dict(in_channels)
        ((self.source, width),) = self.in_channels.items()
        self.projection = nn.Conv2d(width, embed_dim, 1)
        self.position_embedding = position_embedding

    def forward(self, features: Mapping[str, Tensor], padding: Tensor) -> TokenPyramid:
        """Build the token sequence.

        Args:
            features: backbone maps by name; one of them is used, (B, in_channels, H, W).
            padding: (B, image height, image width) bool, True = padding.
        """
        projected = self.projection(features[self.source])
        mask = resize_mask(padding, projected.shape[-2:])
        return TokenPyramid(
            tokens=projected.flatten(2).transpose(1, 2),
            position=self.position_embedding(mask).flatten(2).transpose(1, 2).to(projected.dtype),
            padding=mask.flatten(1),
            shapes=((projected.shape[-2], projected.shape[-1]),),
            valid_ratios=valid_ratio(mask)[:, None],
        )
