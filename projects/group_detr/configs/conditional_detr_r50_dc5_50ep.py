"""Conditional DETR, R50-DC5, 50 epochs (a baseline of Group DETR)."""

from querydet.config import get_config

from .conditional_detr_r50_50ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone = get_config("common/backbones/resnet_dc5.py").backbone

train.output_dir = "output/conditional_detr_r50_dc5_50ep"
