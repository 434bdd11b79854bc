"""The shipped backbones with few and narrow layers, each with the shipped config's kinds of parts and names of maps."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.layers import CNNBlockBase
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet
from omegaconf import DictConfig, OmegaConf

from querydet.config import get_config
from querydet.modeling.detector import QueryDetector
from tests.models import make_small

WIDTH = 16  # of all maps of a pyramid
BACKBONES = ("resnet", "resnet_fpn", "swin", "vit", "mvit")
PADDED_TO_32 = ("resnet_fpn", "vit")


def small_stages(norm: str) -> list[list[CNNBlockBase]]:
    """One basic block for each of the four stages."""
    sizes = [(8, 8, 1), (8, 16, 2), (16, 24, 2), (24, 32, 2)]
    return [
        ResNet.make_stage(
            BasicBlock, 1, in_channels=width, out_channels=out_width, stride_per_block=[stride], norm=norm
        )
        for width, out_width, stride in sizes
    ]


def small_backbone(name: str, **overrides: Any) -> tuple[DictConfig, dict[str, int]]:
    """A backbone of `configs/common/backbones` made small, and the channels of its maps.

    Args:
        name: of the config.
        overrides: dotted keys with `__` for the dot.
    """
    shipped = get_config(f"common/backbones/{name}.py")
    backbone, channels = shipped.backbone, dict(shipped.in_channels)
    if name in ("resnet", "resnet_fpn"):
        resnet = backbone.bottom_up if name == "resnet_fpn" else backbone
        resnet.stem = L(BasicStem)(in_channels=3, out_channels=8, norm="FrozenBN")
        resnet.stages = L(small_stages)(norm="FrozenBN")
        channels = {"res3": 16, "res4": 24, "res5": 32}
    if name == "swin":
        backbone.update({"embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 3})
        channels = {"p1": 16, "p2": 32, "p3": 64}
    if name == "vit":
        backbone.net.update({"embed_dim": 32, "depth": 2, "num_heads": 2, "global_blocks": [1], "window_size": 3})
        backbone.net.image_size = 128
    if name == "mvit":
        backbone.update({"embed_dim": 8, "depth": 5, "last_blocks": [0, 1, 3, 4]})
        channels = {"scale3": 16, "scale4": 32, "scale5": 64}
    if name in PADDED_TO_32:
        backbone.out_channels = WIDTH
        channels = dict.fromkeys(shipped.in_channels, WIDTH)
    for key, value in overrides.items():
        OmegaConf.update(backbone, key.replace("__", "."), value, merge=False)
    return backbone, channels


def small_config(
    name: str, composition: str = "dino", maps: Sequence[str] | None = None, **overrides: Any
) -> DictConfig:
    """A small composition on a small backbone.

    Args:
        name: of the backbone's config.
        composition: of the detector.
        maps: names of those that the neck reads; None: all.
        overrides: of the backbone, dotted keys with `__` for the dot.
    """
    model = make_small(get_config(f"common/models/{composition}.py").model)
    model.backbone, channels = small_backbone(name, **overrides)
    model.neck.in_channels = {key: channels[key] for key in maps or channels}
    return model


def small_detector(name: str, *arguments: Any, **options: Any) -> QueryDetector:
    """Build :func:`small_config`."""
    torch.manual_seed(0)
    return instantiate(small_config(name, *arguments, **options))


def detector_on(backbone: DictConfig, composition: str = "dino") -> QueryDetector:
    """A small detector that reads all maps of a backbone of another library."""
    torch.manual_seed(0)
    built = instantiate(backbone)
    model = make_small(get_config(f"common/models/{composition}.py").model)
    model.neck.in_channels = {name: shape.channels for name, shape in built.output_shape().items()}
    return instantiate({**model, "backbone": built})
