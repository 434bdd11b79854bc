"""Sine embeddings of positions and boxes (Attention Is All You Need, section 3.5, in the two-dimensional form of DETR).

All released DETRs interleave `sin, cos, sin, cos, ...`; they differ in temperature, in the offset of the first pixel
and in the order of the coordinates. A checkpoint needs the constants that it was trained with, and loads without an
error when they are wrong; so each is a parameter without a default.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

BOX_TEMPERATURE = 10000.0  # of box embeddings, in all released code, also where maps use another one


def sine_embedding(angles: Tensor, dim: int, temperature: float) -> Tensor:
    """Embed angles as `dim` interleaved sines and cosines of falling frequency.

    Entry `2j` is `sin(angle / temperature ** (2j / dim))`, entry `2j + 1` the cosine of the same.

    Args:
        angles: any shape, in radians.
        dim: number of entries, even.
        temperature: ratio of the longest to the shortest wave length.

    Returns:
        Embedded angles of shape `angles.shape + (dim,)`.
    """
    exponent = torch.arange(0, dim, 2, device=angles.device, dtype=angles.dtype) / dim
    scaled = angles[..., None] / temperature**exponent
    return torch.stack([scaled.sin(), scaled.cos()], dim=-1).flatten(-2)


class SinePositionEmbedding(nn.Module):
    """Embeds the position of each pixel of a padded map, relative to the part that is image.

    Args:
        embed_dim: width C; the first half embeds y, the second x.
        temperature: ratio of wave lengths; 20 in DINO (arXiv 2203.03605, appendix D), 10000 in DETR and Deformable
            DETR.
        offset: added to positions, which count pixels from 1; 0 in DETR and DINO, -0.5 in Deformable DETR.
        temperature_x: ratio of wave lengths for x, an option of the released DAB-DETR, DN-DETR and DINO; None: that for
            y.

    Raises:
        ValueError: C is not a multiple of 4.
    """

    def __init__(self, embed_dim: int, temperature: float, offset: float, temperature_x: float | None = None) -> None:
        super().__init__()
        if embed_dim % 4:
            raise ValueError(f"embed_dim must be a multiple of 4 (sine and cosine of x and y), found {embed_dim}")
        self.embed_dim, self.temperature, self.offset = embed_dim, temperature, offset
        self.temperature_x = temperature if temperature_x is None else temperature_x

    def forward(self, padding: Tensor) -> Tensor:
        """Embed the pixels of maps with padding (B, H, W), True = padding, as (B, C, H, W) in float32."""
        valid = (~padding).to(torch.float32)
        coordinates = []
        for dim, temperature in ((1, self.temperature), (2, self.temperature_x)):
            count = valid.cumsum(dim)
            # 1e-6 keeps fully padded rows and columns finite (released code of DETR)
            total = count.narrow(dim, count.shape[dim] - 1, 1) + 1e-6
            angle = (count + self.offset) / total * (2 * math.pi)
            coordinates.append(sine_embedding(angle, self.embed_dim // 2, temperature))
        return torch.cat(coordinates, dim=-1).permute(0, 3, 1, 2)


def box_sine_embedding(boxes: Tensor, dim_per_coordinate: int, order: Sequence[int], temperature: float) -> Tensor:
    """Embed the coordinates of boxes one by one.

    Args:
        boxes: (..., 4), normalised.
        dim_per_coordinate: number of entries for each coordinate, even.
        order: indices of the coordinates in the order of their embeddings: (1, 0, 2, 3) in DAB-DETR and DINO,
            (0, 1, 2, 3) in Deformable DETR.
        temperature: ratio of wave lengths; 10000 in all released code.

    Returns:
        Embedded boxes (..., 4 * dim_per_coordinate).
    """
    ordered = torch.stack([boxes[..., index] for index in order], dim=-1)
    return sine_embedding(ordered * (2 * math.pi), dim_per_coordinate, temperature).flatten(-2)
