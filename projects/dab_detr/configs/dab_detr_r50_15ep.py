"""DAB-DETR, R50, 15 epochs, which take as long as fewer with groups (Group DETR, table 2)."""

from querydet.config import get_config

from .dab_detr_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_15ep

train.max_epochs = 15
train.output_dir = "output/dab_detr_r50_15ep"
