"""From the maps of a backbone to the encoder's output: neck, positions, encoder (Deformable DETR, section 4)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.detectors.attention import deformable
from tests.reference.detectors.weights import Weights


@dataclass
class Tokens:
    """The tokens of all levels, fine to coarse.

    Args:
        values: (B, S, C).
        position: (B, S, C), with that of the level.
        padding: (B, S), True where a token is padding.
        shapes: (h, w) of each level.
        valid: (B, L, 2), the width and height in tokens that are no padding.
        maps: position of each level without that of the level, (B, C, h, w).
    """

    values: Tensor
    position: Tensor
    padding: Tensor
    shapes: list[tuple[int, int]]
    valid: Tensor
    maps: list[Tensor]

    @property
    def ratios(self) -> Tensor:
        """Share of each level that is no padding, (B, L, 2), x before y."""
        return self.valid / torch.tensor([(w, h) for h, w in self.shapes])

    def centres(self) -> list[Tensor]:
        """Centre of each token of a level, in tokens, (h w, 2)."""
        return [
            torch.tensor([(x + 0.5, y + 0.5) for y in range(h) for x in range(w)], dtype=self.values.dtype)
            for h, w in self.shapes
        ]


def waves(values: Tensor, width: int, temperature: float) -> Tensor:
    """Sine and cosine of values at ``width / 2`` frequencies, in turn."""
    channel = torch.arange(width // 2, dtype=values.dtype)
    angles = values[..., None] / temperature ** (2 * channel / width)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


def position_map(
    padding: Tensor,
    width: int,
    temperature: float,
    offset: float,
    dtype: torch.dtype,
    temperature_x: float | None = None,
) -> Tensor:
    """Sine encoding (B, C, h, w) of the rows and columns that are no padding; columns may have another temperature."""
    inside = (~padding).to(dtype)
    y, x = inside.cumsum(1), inside.cumsum(2)
    y = (y + offset) / (y[:, -1:] + 1e-6) * 2 * math.pi
    x = (x + offset) / (x[:, :, -1:] + 1e-6) * 2 * math.pi
    encoded = torch.cat([waves(y, width // 2, temperature), waves(x, width // 2, temperature_x or temperature)], -1)
    return encoded.permute(0, 3, 1, 2)


def resize_padding(padding: Tensor, size: tuple[int, int]) -> Tensor:
    """Padding (B, h, w) of a map, by the nearest pixel of that of the images."""
    return F.interpolate(padding[None].float(), size=size)[0].bool()


def project(weights: Weights, features: list[Tensor], levels: int) -> list[Tensor]:
    """Project maps to the width of the tokens; further levels are made from the last map, then from each other."""
    maps: list[Tensor] = []
    for level in range(levels):
        convolution, norm = weights.at("input_proj", level, 0), weights.at("input_proj", level, 1)
        if level < len(features):
            values = F.conv2d(features[level], convolution["weight"], convolution["bias"])
        else:
            source = features[-1] if level == len(features) else maps[-1]
            values = F.conv2d(source, convolution["weight"], convolution["bias"], stride=2, padding=1)
        maps.append(F.group_norm(values, 32, norm["weight"], norm["bias"]))
    return maps


def make_tokens(
    weights: Weights,
    features: list[Tensor],
    padding: Tensor,
    *,
    levels: int,
    temperature: float,
    offset: float,
    temperature_x: float | None = None,
) -> Tokens:
    """Tokens before the encoder, of maps (B, c, h, w) and the padding (B, H, W) of their images."""
    maps = project(weights, features, levels)
    paddings = [resize_padding(padding, one.shape[-2:]) for one in maps]
    width, dtype = maps[0].shape[1], maps[0].dtype
    positions = [position_map(one, width, temperature, offset, dtype, temperature_x) for one in paddings]
    embed = weights["transformer.level_embed"]
    return Tokens(
        values=torch.cat([one.flatten(2).transpose(1, 2) for one in maps], 1),
        position=torch.cat([one.flatten(2).transpose(1, 2) + embed[level] for level, one in enumerate(positions)], 1),
        padding=torch.cat([one.flatten(1) for one in paddings], 1),
        shapes=[tuple(one.shape[-2:]) for one in maps],
        valid=torch.stack([torch.stack([(~one[:, 0]).sum(1), (~one[:, :, 0]).sum(1)], -1) for one in paddings], 1).to(
            maps[0].dtype
        ),
        maps=positions,
    )


def encode(weights: Weights, tokens: Tokens, *, layers: int, heads: int) -> Tensor:
    """The encoder's output (B, S, C)."""
    own_level = torch.cat([centre / tokens.valid[:, level, None] for level, centre in enumerate(tokens.centres())], 1)
    reference = own_level[:, :, None] * tokens.ratios[:, None]
    x = tokens.values
    for index in range(layers):
        layer = weights.at("transformer.encoder.layers", index)
        attended = deformable(
            layer.at("self_attn"), x + tokens.position, reference, x, tokens.padding, tokens.shapes, heads
        )
        x = layer.at("norm1").norm(x + attended)
        x = layer.at("norm2").norm(x + layer.feed_forward(x))
    return x
