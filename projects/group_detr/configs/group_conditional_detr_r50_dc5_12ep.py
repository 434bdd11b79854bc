"""Group DETR on Conditional DETR, 11 groups, R50-DC5, 12 epochs (arXiv 2207.13085)."""

from querydet.config import get_config

from .group_conditional_detr_r50_dc5_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep

train.max_epochs = 12
train.output_dir = "output/group_conditional_detr_r50_dc5_12ep"
