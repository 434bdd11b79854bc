"""DETR, R50, 300 epochs (DINO, table 5)."""

from querydet.config import get_config

from .detr_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_300ep

train.max_epochs = 300
train.output_dir = "output/detr_r50_300ep"
