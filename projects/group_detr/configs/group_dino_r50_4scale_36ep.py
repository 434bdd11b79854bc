"""Group DETR on DINO, R50, 4 scales, 11 groups, 36 epochs (arXiv 2207.13085, table 4)."""

from querydet.config import get_config

from .group_dino_r50_4scale_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_36ep

train.max_epochs = 36
train.output_dir = "output/group_dino_r50_4scale_36ep"
