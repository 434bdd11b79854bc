"""DETR, R50-DC5, 500 epochs (DINO, table 2; DETA, table 3)."""

from querydet.config import get_config

from .detr_r50_dc5_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_500ep

train.max_epochs = 500
train.output_dir = "output/detr_r50_dc5_500ep"
