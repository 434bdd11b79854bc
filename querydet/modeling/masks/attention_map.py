"""Masks from attention maps, as DETR makes them (arXiv 2005.12872, section 4.4).

A query attends to one coarse level; its attention map, beside the features of that level, goes through convolutions
that are joined by finer and finer backbone maps. MS-DETR (arXiv 2401.03989, table 7) and Mr. DETR do so on Deformable
DETR. In MS-DETR's repository the coarse level has stride 64, and a convolution of stride 2 precedes each backbone map,
so that masks have stride 16; DETR's own start at stride 32 and end at stride 4.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from querydet.modeling.boxes import full_precision
from querydet.modeling.geometry import resize_mask
from querydet.modeling.layers.multi_head import check_heads
from querydet.modeling.masks.image_masks import WholeMasks
from querydet.modeling.masks.level_maps import level_map, level_padding
from querydet.modeling.neck import masked_group_norm
from querydet.structures import ImageFeatures

NUM_GROUPS = 8  # of the group norms (released code)
SOURCES = ("projected", "encoded")
QUERIES_AT_ONCE = 32  # of an image, in inference: bounds the memory of the convolutions


class AttentionMaps(nn.Module):
    """Attention weights of queries to a map, with one softmax over all heads and pixels, and no values.

    Args:
        embed_dim: width C.
        num_heads: M.

    Raises:
        ValueError: C is not a multiple of M.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        check_heads(embed_dim, num_heads)
        self.num_heads = num_heads
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        for linear in (self.query, self.key):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, hidden: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        """Return the weights (B, n, M, H, W) of n queries of each image.

        Args:
            hidden: (B, n, C).
            memory: (B, C, H, W).
            padding: (B, H, W) bool, True = padding, which has no weight.
        """
        query = self.query(hidden).unflatten(2, (self.num_heads, -1))
        key = self.key(memory.flatten(2).transpose(1, 2)).unflatten(2, (self.num_heads, -1))
        logits = torch.einsum("bnmd,bpmd->bnmp", query * query.shape[-1] ** -0.5, key)
        weights = logits.masked_fill(padding.flatten(1)[:, None, None], -torch.inf).flatten(2).softmax(2)
        return weights.unflatten(2, (self.num_heads, *padding.shape[1:]))


class Stage(nn.Module):
    """A 3x3 convolution, a group norm and a ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = _conv(in_channels, out_channels, 3)
        self.norm = nn.GroupNorm(NUM_GROUPS, out_channels)

    def forward(self, values: Tensor, padding: Tensor | None) -> Tensor:
        """Map (n, in_channels, H, W) to (n, out_channels, H, W).

        Args:
            values: maps of n queries of one or more images.
            padding: (n, H, W) bool, left out of the statistics and set to zero; None: it counts like the image.
        """
        values = self.conv(values)
        normed = self.norm(values) if padding is None else masked_group_norm(values, padding, self.norm)
        return normed.relu()


class AttentionMapMasks(WholeMasks):
    """Masks of a batch.

    Args:
        head: its weights.
        source: (B, C, H, W), the coarse map that the attention maps are put beside.
        memory: (B, C, H, W), the map that queries attend to.
        fine: backbone maps, projected, coarse to fine: (B, channels, H, W).
        paddings: (B, H, W) of the coarse map and of each fine one, True = padding.
        canvas: height and width of the padded images.
    """

    def __init__(
        self,
        head: "AttentionMapHead",
        source: Tensor,
        memory: Tensor,
        fine: list[Tensor],
        paddings: list[Tensor],
        canvas: tuple[int, int],
    ) -> None:
        super().__init__(canvas)
        self.head, self.source, self.memory = head, source, memory
        self.fine, self.paddings = fine, paddings

    def of_batch(self, hidden: Tensor) -> Tensor:
        """Return the masks (B, n, h, w) of n queries of each image, from their hidden states (B, n, C)."""
        return self._masks(hidden, self.source, self.memory, self.fine, self.paddings)

    def of_image(self, image: int, hidden: Tensor) -> Tensor:
        """Return the masks (n, h, w) of n queries (n, C) of an image; n may be 0."""
        fine, paddings = ([values[image, None] for values in maps] for maps in (self.fine, self.paddings))
        source, memory = self.source[image, None], self.memory[image, None]
        blocks = (hidden,) if torch.is_grad_enabled() else hidden.split(QUERIES_AT_ONCE)
        return torch.cat([self._masks(block[None], source, memory, fine, paddings)[0] for block in blocks])

    def _masks(
        self, hidden: Tensor, source: Tensor, memory: Tensor, fine: list[Tensor], paddings: list[Tensor]
    ) -> Tensor:
        head, (images, queries) = self.head, hidden.shape[:2]
        masked = [_repeat(padding, queries) if head.ignore_padding else None for padding in paddings]
        maps = head.attention(hidden, memory, paddings[0]).flatten(0, 1)
        values = torch.cat([_repeat(source, queries), maps], 1)
        for stage in head.coarse_stages:
            values = stage(values, masked[0])
        for finer, stage, padding in zip(fine, head.fine_stages, masked[1:], strict=True):
            values = _repeat(finer, queries) + F.interpolate(values, size=finer.shape[-2:], mode="nearest")
            values = stage(values if padding is None else values.masked_fill(padding[:, None], 0), padding)
        return full_precision(head.output(values)[:, 0]).unflatten(0, (images, queries))


def _repeat(values: Tensor, queries: int) -> Tensor:
    """Repeat values (B, ...) of each image for its queries, (B * queries, ...)."""
    return values[:, None].expand(-1, queries, *values.shape[1:]).flatten(0, 1)


class AttentionMapHead(nn.Module):
    """Makes masks from attention maps.

    Args:
        in_channels: backbone maps that join, with their channels: `{"res5": 2048, "res4": 1024, "res3": 512}` in
            MS-DETR's repository, `{"res4": 1024, "res3": 512, "res2": 256}` in DETR. They join from the last name in
            the alphabet to the first, in whatever order they are given, which a saved config does not keep.
        embed_dim: width C.
        num_heads: M.
        level: index of the coarse level among those of the neck; negative ones count from the coarsest. -1, of stride
            64 with four levels, in MS-DETR; the level of stride 32 in DETR.
        halve: whether a 3x3 convolution of stride 2, to half of the channels, precedes each backbone map (MS-DETR).
        source: the map beside the attention maps: "projected", of the neck (DETR, MS-DETR), or "encoded" (Mr. DETR).
        ignore_padding: whether padding is left out of convolutions and norms, so that the masks of an image do not
            depend on the other images of its batch; the released codes do not.

    Raises:
        ValueError: for an unknown source, or a width that the group norms do not divide.
    """

    def __init__(
        self,
        *,
        in_channels: Mapping[str, int],
        embed_dim: int = 256,
        num_heads: int = 8,
        level: int = -1,
        halve: bool = True,
        source: str = "projected",
        ignore_padding: bool = True,
    ) -> None:
        super().__init__()
        if source not in SOURCES:
            raise ValueError(f"source must be one of {SOURCES}, found {source!r}")
        widths = [embed_dim + num_heads] * 2 + [embed_dim // 2**power for power in range(1, len(in_channels) + 2)]
        if any(width % NUM_GROUPS for width in widths):
            raise ValueError(
                f"embed_dim={embed_dim} and num_heads={num_heads} give maps of {widths} channels, each of which has to "
                f"be a multiple of {NUM_GROUPS} for the group norm: take a wider embed_dim, fewer maps in in_channels, "
                f"or num_heads={NUM_GROUPS}"
            )
        self.in_channels, self.embed_dim = dict(sorted(in_channels.items(), reverse=True)), embed_dim
        self.level, self.source, self.ignore_padding = level, source, ignore_padding
        self.attention = AttentionMaps(embed_dim, num_heads)
        stages = [Stage(before, after) for before, after in pairwise(widths)]
        self.coarse_stages, self.fine_stages = nn.ModuleList(stages[:2]), nn.ModuleList(stages[2:])
        kept = [width // 2 if halve else width for width in self.in_channels.values()]
        self.halvings = nn.ModuleList(
            nn.Conv2d(width, half, 3, stride=2, padding=1)
            for width, half in zip(self.in_channels.values(), kept, strict=True)
            if halve
        )
        self.adapters = nn.ModuleList(_conv(width, joined, 1) for width, joined in zip(kept, widths[2:-1], strict=True))
        self.output = _conv(widths[-1], 1, 3)

    def forward(self, features: ImageFeatures) -> AttentionMapMasks:
        """Project the maps of a batch."""
        memory, ignore = features.memory, self.ignore_padding
        encoded = level_map(memory, memory.tokens, self.level, ignore)
        source = encoded if self.source == "encoded" else level_map(memory, features.neck.tokens, self.level, ignore)
        fine, paddings = [], [level_padding(memory, self.level)]
        for index, name in enumerate(self.in_channels):
            values = features.maps[name]
            if ignore:
                values = values.masked_fill(resize_mask(features.padding, values.shape[-2:])[:, None], 0)
            if self.halvings:
                values = self.halvings[index](values)
            fine.append(self.adapters[index](values))
            paddings.append(resize_mask(features.padding, values.shape[-2:]))
        height, width = features.padding.shape[-2:]
        return AttentionMapMasks(self, source, encoded, fine, paddings, (height, width))


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """Make a convolution with the initial weights of DETR's mask head and zero biases."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
