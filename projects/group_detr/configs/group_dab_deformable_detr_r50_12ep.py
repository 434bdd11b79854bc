"""Group DETR on DAB-Deformable-DETR, R50, 11 groups, 12 epochs (arXiv 2207.13085, table 3)."""

from querydet.config import get_config

from .group_dab_deformable_detr_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep

train.max_epochs = 12
train.output_dir = "output/group_dab_deformable_detr_r50_12ep"
