"""Features, masks of objects and mask heads for the tests of this folder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from querydet.mask_structures import ObjectMasks
from querydet.modeling.masks import AttentionMapHead, PixelEmbedding
from querydet.modeling.masks.points import SeededDraws
from querydet.structures import ImageFeatures, TokenPyramid

DIM = 64  # an eighth of it divides into the groups of the norms
MAPS = {"res2": 6, "res3": 8, "res4": 10, "res5": 12}
LEVELS = (8, 16, 32, 64)  # strides of the levels of tokens
CPU = torch.device("cpu")


def padding_of(sizes: Sequence[tuple[int, int]], canvas: tuple[int, int]) -> Tensor:
    """The padding (B, height, width) of images of these sizes."""
    padding = torch.ones(len(sizes), *canvas, dtype=torch.bool)
    for mask, (height, width) in zip(padding, sizes, strict=True):
        mask[:height, :width] = False
    return padding


def random_map(image: int, channels: int, stride: int, size: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """A map (channels, h, w) that is the same in any canvas; there is garbage in the padding."""
    (height, width), (rows, columns) = ((-(-side // stride) for side in sides) for sides in (size, canvas))
    generator = torch.Generator().manual_seed(1000 * image + stride + channels)
    values = torch.full((channels, rows, columns), 7.0)
    values[:, :height, :width] = torch.randn(channels, height, width, generator=generator)
    return values


def features(
    sizes: Sequence[tuple[int, int]], canvas: tuple[int, int] | None = None, images: Sequence[int] | None = None
) -> ImageFeatures:
    """Random features of images of these sizes.

    Args:
        sizes: height and width of each image.
        canvas: of the batch; None: the largest height and width.
        images: numbers of the images; features of a number are the same in every batch.
    """
    images = range(len(sizes)) if images is None else images
    canvas = canvas or (max(size[0] for size in sizes), max(size[1] for size in sizes))
    padding = padding_of(sizes, canvas)

    def batch(channels: int, stride: int, salt: int = 0) -> Tensor:
        rows = zip(images, sizes, strict=True)
        return torch.stack([random_map(image + salt, channels, stride, size, canvas) for image, size in rows])

    def pyramid(salt: int) -> TokenPyramid:
        maps = [batch(DIM, stride, salt) for stride in LEVELS]
        masks = [
            padding_of([(-(-h // s), -(-w // s)) for h, w in sizes], maps[i].shape[2:]) for i, s in enumerate(LEVELS)
        ]
        tokens = torch.cat([values.flatten(2).transpose(1, 2) for values in maps], 1)
        return TokenPyramid(
            tokens=tokens,
            position=torch.zeros_like(tokens),
            padding=torch.cat([mask.flatten(1) for mask in masks], 1),
            shapes=tuple((values.shape[2], values.shape[3]) for values in maps),
            valid_ratios=torch.ones(len(sizes), len(LEVELS), 2),
        )

    maps = {name: batch(channels, 2 ** int(name[-1])) for name, channels in MAPS.items()}
    return ImageFeatures(maps=maps, padding=padding, neck=pyramid(50), memory=pyramid(70))


def attention_map_head(seed: int = 0, **options: object) -> AttentionMapHead:
    """A small head that is not at its initial weights."""
    torch.manual_seed(seed)
    in_channels = {"res5": MAPS["res5"]}
    return noisy(AttentionMapHead(**{"in_channels": in_channels, "embed_dim": DIM, "num_heads": 8, **options}))


def pixel_embedding(seed: int = 0, **options: object) -> PixelEmbedding:
    """A small head that is not at its initial weights."""
    torch.manual_seed(seed)
    return noisy(PixelEmbedding(**{"in_channels": {"res2": MAPS["res2"]}, "embed_dim": DIM, "mask_dim": 16, **options}))


HEADS = (attention_map_head, pixel_embedding)


def noisy(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module


def hidden_states(images: int, queries: int, seed: int = 0) -> Tensor:
    """Hidden states (images, queries, DIM)."""
    return torch.randn(images, queries, DIM, generator=torch.Generator().manual_seed(seed))


def objects_of(
    masks: Sequence[Tensor], canvas: tuple[int, int], seeds: Sequence[int | None] | None = None
) -> ObjectMasks:
    """The masks (T, H, W) bool of the objects of each image as one."""
    sizes = torch.tensor([each.shape[1:] for each in masks for _ in each], dtype=torch.int64).view(-1, 2)
    areas = sizes.prod(1)
    return ObjectMasks(
        pixels=torch.cat([each.flatten() for each in masks]),
        starts=areas.cumsum(0) - areas,
        sizes=sizes,
        canvas=canvas,
        draws=SeededDraws(seeds or list(range(len(masks))), CPU),
    )


def random_masks(counts: Sequence[int], sizes: Sequence[tuple[int, int]], seed: int = 0) -> list[Tensor]:
    """Random masks (T, H, W) bool of the objects of each image."""
    generator = torch.Generator().manual_seed(seed)
    pairs = zip(counts, sizes, strict=True)
    return [torch.rand(count, *size, generator=generator) > 0.6 for count, size in pairs]


def padded(masks: Sequence[Tensor], canvas: tuple[int, int]) -> Tensor:
    """All masks in the padded size (T, *canvas), as float."""
    whole = torch.zeros(sum(map(len, masks)), *canvas)
    start = 0
    for each in masks:
        whole[start : start + len(each), : each.shape[1], : each.shape[2]] = each.float()
        start += len(each)
    return whole
