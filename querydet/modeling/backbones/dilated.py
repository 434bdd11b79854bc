"""A ResNet whose last stage is dilated instead of strided: "DC5" (DETR, arXiv 2005.12872, section 4)."""

from detectron2.modeling.backbone import ResNet
from torch import nn

DILATION = 2


def make_dilated_stages(*, depth: int, norm: str) -> list[list[nn.Module]]:
    """Make the stages of a ResNet of bottleneck blocks whose last map has stride 16.

    As in torchvision, and with it in all released codes, the first block of the last stage loses its stride and keeps
    its kernels, and the others are dilated by 2. (Detectron2's own `res5_dilation` dilates the first one too.) Weights
    of an ordinary ResNet fit.

    Args:
        depth: number of layers, 50, 101 or 152.
        norm: Detectron2's name of the norm of all layers.

    Raises:
        ValueError: for another depth.
    """
    blocks = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
    if depth not in blocks:
        raise ValueError(f"depth must be one of {sorted(blocks)}, whose blocks are bottlenecks; found {depth}")
    stages = ResNet.make_default_stages(depth=depth, stride_in_1x1=False, norm=norm)
    last = blocks[depth][-1]
    block = type(stages[-1][0])
    stages[-1] = ResNet.make_stage(
        block_class=block,
        num_blocks=last,
        stride_per_block=[1] * last,
        dilation_per_block=[1] + [DILATION] * (last - 1),
        in_channels=1024,
        out_channels=2048,
        bottleneck_channels=512,
        norm=norm,
    )
    return stages
