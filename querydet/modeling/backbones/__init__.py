"""Backbones beside Detectron2's: adapters to timm and torchvision, padding rules, builders for YAML configs."""

from querydet.modeling.backbones.adapter import Adapter
from querydet.modeling.backbones.dilated import make_dilated_stages
from querydet.modeling.backbones.folding import fold_frozen_norms
from querydet.modeling.backbones.layout import image_layout
from querydet.modeling.backbones.padding import batch_images, pad_batch, padded_size, padding_rule
from querydet.modeling.backbones.timm import TimmBackbone
from querydet.modeling.backbones.torchvision import TorchvisionBackbone
from querydet.modeling.backbones.transformers import make_mvit, make_vit

__all__ = [
    "Adapter",
    "TimmBackbone",
    "TorchvisionBackbone",
    "batch_images",
    "fold_frozen_norms",
    "image_layout",
    "make_dilated_stages",
    "make_mvit",
    "make_vit",
    "pad_batch",
    "padded_size",
    "padding_rule",
]
