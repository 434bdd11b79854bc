"""Conditional DETR, R50-DC5, 108 epochs (DETA, table 3)."""

from querydet.config import get_config

from .conditional_detr_r50_dc5_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_108ep

train.max_epochs = 108
train.output_dir = "output/conditional_detr_r50_dc5_108ep"
