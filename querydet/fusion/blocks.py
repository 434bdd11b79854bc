"""The blocks of Detectron2's ResNet: norms and ReLU are parts of the convolutions, the residual sum one of the last."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet
from torch import Tensor, nn

from querydet.fusion.exchange import Exchange
from querydet.fusion.folding import Folded, fold
from querydet.fusion.layers import Grid, as_layer


def fold_all(convolutions: Sequence[nn.Module]) -> list[Folded] | None:
    """Fold Detectron2's convolutions with their norms; None where one of them cannot be folded."""
    folded = [fold(cast(nn.Conv2d, conv), cast(nn.Module | None, conv.norm)) for conv in convolutions]
    whole = [each for each in folded if each is not None]
    return whole if len(whole) == len(folded) else None


class NormedConv2d(nn.Module):
    """A convolution, a norm that looks at its input, such as a group norm, and possibly a ReLU.

    Args:
        conv: the convolution.
        norm: the norm.
        relu: whether a ReLU follows.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module, relu: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = conv, norm, relu

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        maps = self.norm(self.conv(maps))
        return maps.relu_() if self.relu else maps


class FusedStem(nn.Module):
    """A convolution with a ReLU, and a max pooling.

    Args:
        conv: the convolution.
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    @classmethod
    def make(cls, module: BasicStem, exchange: Exchange) -> nn.Module | None:
        """Fuse a stem."""
        folded = fold_all([module.conv1])
        return None if folded is None else cls(exchange.layers.conv(folded[0], relu=True))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to (B, channels, H / 4, W / 4)."""
        return F.max_pool2d(self.conv(images), kernel_size=3, stride=2, padding=1)


class FusedBlock(nn.Module):
    """Convolutions with ReLU, of which the last adds the shortcut.

    Args:
        convolutions: one after the other, each with a ReLU.
        shortcut: the convolution of the shortcut; None: the block's input.
    """

    def __init__(self, convolutions: Sequence[nn.Module], shortcut: nn.Module | None) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.shortcut = shortcut
        self.following: tuple[FusedBlock, ...] = ()  # the one that reads the result; a tuple, as it is no child

    @classmethod
    def make(cls, module: BasicBlock | BottleneckBlock, exchange: Exchange) -> nn.Module | None:
        """Fuse a block."""
        names = [name for name in ("conv1", "conv2", "conv3") if hasattr(module, name)]
        folded = fold_all([getattr(module, name) for name in names])
        shortcut = [] if module.shortcut is None else fold_all([module.shortcut])
        if folded is None or shortcut is None:
            return None
        make = exchange.layers.conv
        return cls([make(each, relu=True) for each in folded], make(shortcut[0]) if shortcut else None)

    @property
    def entry(self) -> Grid | None:
        """What the codes that the block takes stand for; None: it takes numbers."""
        return as_layer(self.convolutions[0]).entry

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride); codes are the next block's alone, or overwritten."""
        convolutions = [as_layer(conv) for conv in self.convolutions]
        shortcut = maps if self.shortcut is None else self.shortcut(maps, into=convolutions[-1].addend)
        for conv, following in pairwise(convolutions):
            maps = conv(maps, into=following.entry)
        return convolutions[-1](maps, shortcut, self.following[0].entry if self.following else None)


def fuse_resnet(module: ResNet, exchange: Exchange) -> nn.Module:
    """Fuse a ResNet, and tell each block which one reads its result, where nothing else does."""
    exchange.children(module)
    for name, following in zip(module.stage_names, [*module.stages[1:], ()], strict=True):
        stage = list(cast(nn.Sequential, getattr(module, name)))
        readers = stage[1:] if name in module._out_features else [*stage[1:], *list(following)[:1]]
        for block, reader in zip(stage, readers, strict=False):
            if isinstance(block, FusedBlock) and isinstance(reader, FusedBlock):
                block.following = (reader,)
    return module
