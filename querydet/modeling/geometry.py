"""Positions: of tokens in their maps, of images in their padded batch, of padding in maps of any size.

Letters are those of `querydet.structures`.
"""

from collections.abc import Sequence

import torch
from detectron2.structures import ImageList
from torch import Tensor

from querydet.structures import TokenPyramid
from querydet.utils.transfer import send


def padding_mask(images: ImageList) -> Tensor:
    """Return (B, H, W) bool, True where a batch of images is padding."""
    sizes = torch.tensor([tuple(size) for size in images.image_sizes])
    return mask_padding(send(sizes, images.tensor.device), images.tensor.shape[-2:])


def mask_padding(sizes: Tensor, batch_size: Sequence[int]) -> Tensor:
    """Return (B, H, W) bool, True where the pixels of a batch of images of these sizes are padding.

    Args:
        sizes: (B, 2), height and width of each image.
        batch_size: H and W, height and width of the batch.
    """
    height, width = batch_size
    rows = torch.arange(height, device=sizes.device) >= sizes[:, :1]
    columns = torch.arange(width, device=sizes.device) >= sizes[:, 1:]
    return rows[:, :, None] | columns[:, None, :]


def resize_mask(padding: Tensor, size: Sequence[int]) -> Tensor:
    """Resize the padding (B, H, W) of images to a map of another size, by nearest neighbours as in all released code.

    It equals `F.interpolate`, written out: in an exported model, other runtimes round its positions differently.

    Args:
        padding: (B, H, W) bool.
        size: height and width of the map.
    """
    for dim, length in zip((1, 2), size, strict=True):
        positions = torch.arange(length, device=padding.device, dtype=torch.float32)
        nearest = (positions * (padding.shape[dim] / length)).floor().long()
        padding = padding.index_select(dim, nearest.clamp(max=padding.shape[dim] - 1))
    return padding


def may_have_padding(padding: Tensor) -> bool:
    """Return whether any of a padding (..., bool) may be True; False saves a pass through what would be blanked.

    On a CPU that is known. Another device would be waited for, and a graph that is recorded has to be right for all
    images, so that the answer is True there.
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    stands_in = type(padding) is not Tensor  # for one without values, as FakeTensor does
    return recorded or stands_in or padding.device.type != "cpu" or bool(padding.any())


def valid_ratio(mask: Tensor) -> Tensor:
    """Return the part of a map that is image, (B, 2) as (w, h), from its padding: images lie in the top left corner.

    Args:
        mask: (B, H, W) bool, True = padding.
    """
    height, width = mask.shape[1:]
    return torch.stack([(~mask[:, 0]).sum(1) / width, (~mask[:, :, 0]).sum(1) / height], dim=-1)


def pixel_centres(shapes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Return the centres (S, 2) of all tokens as (x, y), in pixels of the token's own level: 0.5, 1.5, ..."""
    centres = []
    for height, width in shapes:
        y = torch.arange(height, device=device, dtype=torch.float32) + 0.5
        x = torch.arange(width, device=device, dtype=torch.float32) + 0.5
        centres.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1))
    return torch.cat(centres)


def valid_sizes(features: TokenPyramid) -> Tensor:
    """Return the size of the image part of each token's level, in pixels of that level: (B, S, 2) as (w, h)."""
    valid = [
        torch.stack([ratios[:, 0] * width, ratios[:, 1] * height], dim=-1).round()  # undoes the division exactly
        for ratios, (height, width) in zip(features.valid_ratios.unbind(1), features.shapes, strict=True)
    ]
    return repeat_levels(valid, features.level_sizes)


def repeat_levels(values: Sequence[Tensor], level_sizes: Sequence[int]) -> Tensor:
    """Give every token the value of its level.

    Args:
        values: n numbers of each level, (B, n).
        level_sizes: number of tokens of each level. They may be symbols: nothing here needs their value, so that an
            exported model works for all sizes.

    Returns:
        (B, S, n).
    """
    repeated = [value[:, None].expand(-1, size, -1) for value, size in zip(values, level_sizes, strict=True)]
    return torch.cat(repeated, dim=1)
