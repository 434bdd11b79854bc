"""Mask2Former for instance segmentation, R50, 12 epochs (Group DETR, table 6; how it is shortened is our guess)."""

from querydet.config import get_config

from .mask2former_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_mask2former_12ep

train.max_epochs = 12
train.output_dir = "output/mask2former_r50_12ep"
