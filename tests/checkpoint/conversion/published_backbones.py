"""Names and shapes of published files of backbones, made from the sizes in the tables of their papers.

`tests/fixtures/published_backbones.json` has the digests of those that were recorded from the released code.
"""

import hashlib
from collections.abc import Sequence

Shapes = dict[str, tuple[int, ...]]


def digest(shapes: Shapes) -> str:
    """A number that changes with any name or shape."""
    lines = sorted(f"{name} {list(shape)}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def pair(name: str, width: int, *weight: int) -> Shapes:
    """A weight and a bias."""
    return {f"{name}.weight": weight or (width,), f"{name}.bias": (width,)}


def mlp(name: str, width: int, ratio: int = 4) -> Shapes:
    hidden = ratio * width
    return pair(f"{name}.fc1", hidden, hidden, width) | pair(f"{name}.fc2", width, width, hidden)


def outputs(widths: Sequence[int]) -> Shapes:
    """Norms of the four maps."""
    return {key: value for n, width in enumerate(widths) for key, value in pair(f"norm{n}", width).items()}


def swin(embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], window_size: int) -> Shapes:
    """Microsoft's, with the norms that Detectron2 adds."""
    widths = [embed_dim * 2**n for n in range(4)]
    shapes = pair("patch_embed.proj", embed_dim, embed_dim, 3, 4, 4) | pair("patch_embed.norm", embed_dim)
    for stage, width in enumerate(widths):
        for index in range(depths[stage]):
            block = f"layers.{stage}.blocks.{index}"
            shapes |= pair(f"{block}.norm1", width) | pair(f"{block}.norm2", width) | mlp(f"{block}.mlp", width)
            shapes |= pair(f"{block}.attn.qkv", 3 * width, 3 * width, width)
            shapes |= pair(f"{block}.attn.proj", width, width, width)
            shapes[f"{block}.attn.relative_position_bias_table"] = ((2 * window_size - 1) ** 2, num_heads[stage])
            shapes[f"{block}.attn.relative_position_index"] = (window_size**2, window_size**2)
        if stage < 3:
            shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
            shapes |= pair(f"layers.{stage}.downsample.norm", 4 * width)
    return shapes | outputs(widths)


def vit(embed_dim: int, depth: int, num_heads: int, rows: int = 197, patch: int = 16) -> Shapes:
    """A masked autoencoder's encoder."""
    shapes: Shapes = {"cls_token": (1, 1, embed_dim), "pos_embed": (1, rows, embed_dim)}
    shapes |= pair("patch_embed.proj", embed_dim, embed_dim, 3, patch, patch) | pair("norm", embed_dim)
    for index in range(depth):
        block = f"blocks.{index}"
        shapes |= pair(f"{block}.norm1", embed_dim) | pair(f"{block}.norm2", embed_dim) | mlp(f"{block}.mlp", embed_dim)
        shapes |= pair(f"{block}.attn.qkv", 3 * embed_dim, 3 * embed_dim, embed_dim)
        shapes |= pair(f"{block}.attn.proj", embed_dim, embed_dim, embed_dim)
    return shapes


def vitdet(embed_dim: int, depth: int, num_heads: int, global_blocks: Sequence[int]) -> Shapes:
    """Detectron2's, with relative positions for 1024 pixels and a pyramid of strides 8 to 32."""
    shapes = {f"net.{key}": value for key, value in vit(embed_dim, depth, num_heads).items()}
    for name in ("net.cls_token", "net.norm.weight", "net.norm.bias"):
        del shapes[name]
    for index in range(depth):
        rows = 127 if index in global_blocks else 27
        for side in "hw":
            shapes[f"net.blocks.{index}.attn.rel_pos_{side}"] = (rows, embed_dim // num_heads)
    half = embed_dim // 2
    shapes |= pair("simfp_3.0", half, embed_dim, half, 2, 2)
    for stride, first, width in ((3, 1, half), (4, 0, embed_dim), (5, 1, embed_dim)):
        for index, side, channels in ((first, 1, width), (first + 1, 3, 256)):
            shapes[f"simfp_{stride}.{index}.weight"] = (256, channels, side, side)
            shapes |= pair(f"simfp_{stride}.{index}.norm", 256)
    return shapes


def convnext(depths: Sequence[int], dims: Sequence[int]) -> Shapes:
    """Facebook's, with the norms that detrex adds."""
    shapes = pair("downsample_layers.0.0", dims[0], dims[0], 3, 4, 4) | pair("downsample_layers.0.1", dims[0])
    for stage, width in enumerate(dims):
        if stage:
            before = dims[stage - 1]
            shapes |= pair(f"downsample_layers.{stage}.0", before)
            shapes |= pair(f"downsample_layers.{stage}.1", width, width, before, 2, 2)
        for index in range(depths[stage]):
            block = f"stages.{stage}.{index}"
            shapes[f"{block}.gamma"] = (width,)
            shapes |= pair(f"{block}.dwconv", width, width, 1, 7, 7) | pair(f"{block}.norm", width)
            shapes |= pair(f"{block}.pwconv1", 4 * width, 4 * width, width)
            shapes |= pair(f"{block}.pwconv2", width, width, 4 * width)
    return shapes | outputs(dims)


def focalnet(embed_dim: int, depths: Sequence[int], levels: int, window: int, large: bool = True) -> Shapes:
    """Microsoft's, with the norms that detrex adds; the large ones embed by overlapping convolutions."""
    widths = [embed_dim * 2**n for n in range(4)]
    side, halving = (7, 3) if large else (4, 2)
    shapes = pair("patch_embed.proj", embed_dim, embed_dim, 3, side, side) | pair("patch_embed.norm", embed_dim)
    for stage, width in enumerate(widths):
        for index in range(depths[stage]):
            block = f"layers.{stage}.blocks.{index}"
            shapes |= pair(f"{block}.norm1", width) | pair(f"{block}.norm2", width) | mlp(f"{block}.mlp", width)
            shapes |= {f"{block}.gamma_{n}": (width,) for n in (1, 2) if large}
            rows = 2 * width + levels + 1
            shapes |= pair(f"{block}.modulation.f", rows, rows, width)
            shapes |= pair(f"{block}.modulation.h", width, width, width, 1, 1)
            shapes |= pair(f"{block}.modulation.proj", width, width, width)
            for level in range(levels):
                kernel = window + 2 * level
                shapes[f"{block}.modulation.focal_layers.{level}.0.weight"] = (width, 1, kernel, kernel)
        if stage < 3:
            shapes |= pair(f"layers.{stage}.downsample.proj", 2 * width, 2 * width, width, halving, halving)
            shapes |= pair(f"layers.{stage}.downsample.norm", 2 * width)
    return shapes | outputs(widths)
