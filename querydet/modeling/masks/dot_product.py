"""Masks as products of queries and pixels (MaskFormer, arXiv 2107.06278, section 3.1; Mask2Former, arXiv 2112.01527).

The finest encoded level, enlarged, and a backbone map give every pixel at stride 4 an embedding; an MLP gives every
query one. A mask is their product, without a bias. H-DETR (arXiv 2207.13080, supplement C) describes the same for
Deformable DETR, without constants or code.

Interpolation and a product commute: a mask at points, or in another size, is the product with the *pixels* at these
points. So matching and masked attention never compute whole masks.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from querydet.modeling.boxes import full_precision, in_full_precision, outside_of_autocast
from querydet.modeling.geometry import resize_mask
from querydet.modeling.layers import MLP
from querydet.modeling.masks.image_masks import WholeMasks, resize_maps
from querydet.modeling.masks.level_maps import extend_border, level_map, level_padding, only_map
from querydet.modeling.masks.points import sample_channels
from querydet.modeling.neck import NUM_GROUPS, masked_group_norm
from querydet.structures import ImageFeatures


class DotProductMasks(WholeMasks):
    """Masks of a batch: products of embedded queries and pixels.

    Args:
        embed: hidden states (..., C) to embeddings (..., E).
        pixels: (B, E, h, w), embeddings of pixels.
        canvas: height and width of the padded images.
    """

    def __init__(self, embed: nn.Module, pixels: Tensor, canvas: tuple[int, int]) -> None:
        super().__init__(canvas)
        self.embed = embed
        self.pixels = pixels

    def embed_queries(self, hidden: Tensor) -> Tensor:
        """Return embeddings (..., E) of hidden states (..., C), in full precision."""
        return in_full_precision(self.embed, hidden)

    def of_batch(self, hidden: Tensor) -> Tensor:
        """Return the masks (B, n, h, w) of n queries of each image, from their hidden states (B, n, C)."""
        return _product(self.embed_queries(hidden), self.pixels)

    def of_image(self, image: int, hidden: Tensor) -> Tensor:
        """Return the masks (n, h, w) of n queries (n, C) of an image; n may be 0."""
        return _product(self.embed_queries(hidden)[None], self.pixels[image, None])[0]

    def at_points(self, image: int, hidden: Tensor, points: Tensor) -> Tensor:
        """Return the values (n, P) of the masks of n queries (n, C) of an image at P points (P, 2)."""
        with outside_of_autocast(hidden.device):
            return self.embed_queries(hidden) @ sample_channels(self.pixels[image], points)

    def resized(self, size: tuple[int, int]) -> "DotProductMasks":
        """Return what makes the same masks, bilinearly resized to (height, width)."""
        return DotProductMasks(self.embed, resize_maps(self.pixels, size), self.canvas)


def _product(queries: Tensor, pixels: Tensor) -> Tensor:
    """Return the products (B, n, h, w) of queries (B, n, E) and pixels (B, E, h, w), in full precision."""
    with outside_of_autocast(queries.device):
        return (queries @ pixels.flatten(2)).unflatten(2, pixels.shape[-2:])


class PixelEmbedding(nn.Module):
    """Embeds pixels and queries; their products are masks.

    Args:
        in_channels: name of the fine backbone map, and its channels: `{"res2": 256}`, at stride 4.
        embed_dim: width C.
        mask_dim: E, the width of the embeddings; None: C.
        level: index of the encoded level that is enlarged to the size of the fine map; 0, the finest.
        ignore_padding: whether padding is left out of convolutions and norms, so that the masks of an image do not
            depend on the other images of its batch; the released code of Mask2Former does not.

    Raises:
        ValueError: for another number of maps than one, or a width that the group norm does not divide.
    """

    def __init__(
        self,
        *,
        in_channels: Mapping[str, int],
        embed_dim: int = 256,
        mask_dim: int | None = None,
        level: int = 0,
        ignore_padding: bool = True,
    ) -> None:
        super().__init__()
        if embed_dim % NUM_GROUPS:
            raise ValueError(f"embed_dim must be a multiple of {NUM_GROUPS} for the group norm, found {embed_dim}")
        self.source, width = only_map(in_channels, "PixelEmbedding")
        self.in_channels, self.embed_dim = {self.source: width}, embed_dim
        self.level, self.ignore_padding = level, ignore_padding
        mask_dim = embed_dim if mask_dim is None else mask_dim
        self.lateral = nn.Conv2d(width, embed_dim, 1, bias=False)
        self.lateral_norm = nn.GroupNorm(NUM_GROUPS, embed_dim)
        self.output = nn.Conv2d(embed_dim, embed_dim, 3, padding=1, bias=False)
        self.output_norm = nn.GroupNorm(NUM_GROUPS, embed_dim)
        self.pixel_embed = nn.Conv2d(embed_dim, mask_dim, 1)
        self.query_embed = MLP(embed_dim, embed_dim, mask_dim, num_layers=3)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights of the convolutions as fvcore's `c2_xavier_fill` does, with zero biases."""
        for conv in (self.lateral, self.output, self.pixel_embed):
            nn.init.kaiming_uniform_(conv.weight, a=1)
        assert self.pixel_embed.bias is not None
        nn.init.zeros_(self.pixel_embed.bias)

    def forward(self, features: ImageFeatures) -> DotProductMasks:
        """Embed the pixels of a batch, outside of autocast as the released code does."""
        with outside_of_autocast(features.padding.device):
            pixels = self.embed_pixels(features)
        height, width = features.padding.shape[-2:]
        return DotProductMasks(self.query_embed, pixels, (height, width))

    def embed_pixels(self, features: ImageFeatures) -> Tensor:
        """Return embeddings (B, E, h, w) of the pixels of the fine map."""
        fine = self._precise(features.maps[self.source])
        padding = resize_mask(features.padding, fine.shape[-2:]) if self.ignore_padding else None
        memory = features.memory
        coarse = self._precise(level_map(memory, memory.tokens, self.level, ignore_padding=False))
        if padding is not None:
            coarse = extend_border(coarse, level_padding(memory, self.level))
        joined = _normalise(self.lateral(fine), self.lateral_norm, padding) + resize_maps(coarse, fine.shape[-2:])
        if padding is not None:
            joined = joined.masked_fill(padding[:, None], 0)
        return full_precision(self.pixel_embed(_normalise(self.output(joined), self.output_norm, padding).relu()))

    def _precise(self, values: Tensor) -> Tensor:
        return values.to(self.lateral.weight.dtype)


def _normalise(values: Tensor, norm: nn.GroupNorm, padding: Tensor | None) -> Tensor:
    return norm(values) if padding is None else masked_group_norm(values, padding, norm)
