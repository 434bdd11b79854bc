"""Mask-Deformable-DETR, R50, 300 queries, 50 epochs (MS-DETR, table 7)."""

from querydet.config import get_config

from .mask_deformable_detr_r50_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_50ep

train.max_epochs = 50
train.output_dir = "output/mask_deformable_detr_r50_50ep"
