"""Group DETR on Conditional DETR, R50, 11 groups, 50 epochs (arXiv 2207.13085)."""

from querydet.config import get_config

from .conditional_detr_r50_50ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/group_conditional_detr.py").model

train.output_dir = "output/group_conditional_detr_r50_50ep"
