"""DAB-DETR, R50, 12 epochs (a baseline of Group DETR)."""

from querydet.config import get_config

from .dab_detr_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep

train.max_epochs = 12
train.output_dir = "output/dab_detr_r50_12ep"
