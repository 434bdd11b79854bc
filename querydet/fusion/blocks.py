"""The blocks of Detectron2's ResNet: norms and ReLU are parts of the convolutions, the residual sum one of the last."""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from torch import Tensor, nn

from querydet.fusion.exchange import Exchange
from querydet.fusion.folding import Folded, fold


def fold_all(convolutions: Sequence[nn.Module]) -> list[Folded] | None:
    """Fold Detectron2's convolutions with their norms; None where one of them cannot be folded."""
    folded = [fold(cast(nn.Conv2d, conv), cast(nn.Module | None, conv.norm)) for conv in convolutions]
    whole = [each for each in folded if each is not None]
    return whole if len(whole) == len(folded) else None


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

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        shortcut = maps if self.shortcut is None else self.shortcut(maps)
        for conv in self.convolutions[:-1]:
            maps = conv(maps)
        return self.convolutions[-1](maps, add=shortcut)
