"""Additions to Detectron2's backbones: padding rules, memory layout, builders for YAML configs, a dilated ResNet."""

from querydet.modeling.backbones.dilated import make_dilated_stages
from querydet.modeling.backbones.layout import image_layout
from querydet.modeling.backbones.padding import batch_images, pad_batch, padded_size, padding_rule
from querydet.modeling.backbones.transformers import make_mvit, make_vit

__all__ = [
    "batch_images",
    "image_layout",
    "make_dilated_stages",
    "make_mvit",
    "make_vit",
    "pad_batch",
    "padded_size",
    "padding_rule",
]
