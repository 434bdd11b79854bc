"""Conditional DETR, R50, 60 epochs, which take as long as fewer with groups (Group DETR, table 2)."""

from querydet.config import get_config

from .conditional_detr_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_60ep

train.max_epochs = 60
train.output_dir = "output/conditional_detr_r50_60ep"
