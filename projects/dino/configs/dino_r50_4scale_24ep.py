"""DINO, R50, 4 scales, 24 epochs (table 2)."""

from querydet.config import get_config

from .dino_r50_4scale_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_24ep

train.max_epochs = 24
train.output_dir = "output/dino_r50_4scale_24ep"
