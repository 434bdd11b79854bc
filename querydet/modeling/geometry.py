"""Where things lie: tokens in their maps, images in their padded batch, padding in maps of any size.

Shapes: B images, L levels, S tokens.
"""

from collections.abc import Sequence

import torch
from detectron2.structures import ImageList
from torch import Tensor

from querydet.structures import TokenPyramid
from querydet.utils.transfer import send


def padding_mask(images: ImageList) -> Tensor:
    """(B, H, W) bool, True where a padded batch is not image: in training and evaluation alike."""
    sizes = torch.tensor([tuple(size) for size in images.image_sizes])
    return mask_padding(send(sizes, images.tensor.device), images.tensor.shape[-2:])


def mask_padding(sizes: Tensor, batch_size: Sequence[int]) -> Tensor:
    """The same from image sizes (B, 2) as (height, width), and the height and width of the batch."""
    height, width = batch_size
    rows = torch.arange(height, device=sizes.device) >= sizes[:, :1]
    columns = torch.arange(width, device=sizes.device) >= sizes[:, 1:]
    return rows[:, :, None] | columns[:, None, :]


def resize_mask(padding: Tensor, size: Sequence[int]) -> Tensor:
    """Padding (B, H, W) of the images as that of a map of this size."""
    """Nearest neighbours, as in all released code.

    The same as ``F.interpolate``, written out: other runtimes round the positions of an exported one differently.
    """
    for dim, wanted in zip((1, 2), size, strict=True):
        positions = torch.arange(wanted, device=padding.device, dtype=torch.float32)
        nearest = (positions * (padding.shape[dim] / wanted)).floor().long()
        padding = padding.index_select(dim, nearest.clamp(max=padding.shape[dim] - 1))
    return padding


def valid_ratio(mask: Tensor) -> Tensor:
    """The part of a map (B, H, W) that is image, (B, 2) as (w, h): images lie in the top left corner."""
    height, width = mask.shape[1:]
    return torch.stack([(~mask[:, 0]).sum(1) / width, (~mask[:, :, 0]).sum(1) / height], dim=-1)


def pixel_centres(shapes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Centres of all tokens as (S, 2) in (x, y), in pixels of the token's own level: 0.5, 1.5, ..."""
    centres = []
    for height, width in shapes:
        y = torch.arange(height, device=device, dtype=torch.float32) + 0.5
        x = torch.arange(width, device=device, dtype=torch.float32) + 0.5
        centres.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1))
    return torch.cat(centres)


def valid_sizes(features: TokenPyramid) -> Tensor:
    """Size of the image part of each token's level, in pixels of that level: (B, S, 2) as (w, h)."""
    valid = [
        torch.stack([ratios[:, 0] * width, ratios[:, 1] * height], dim=-1).round()  # undoes the division exactly
        for ratios, (height, width) in zip(features.valid_ratios.unbind(1), features.shapes, strict=True)
    ]
    return repeat_levels(valid, features.level_sizes)


def repeat_levels(values: Sequence[Tensor], level_sizes: Sequence[int]) -> Tensor:
    """Give every token the value of its level.

    Args:
        values: of each level, (B, n).
        level_sizes: tokens of each level. They may be symbols: nothing here needs their value, so that an exported
            model works for all sizes.

    Returns:
        (B, S, n).
    """
    repeated = [value[:, None].expand(-1, size, -1) for value, size in zip(values, level_sizes, strict=True)]
    return torch.cat(repeated, dim=1)
