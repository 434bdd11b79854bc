"""Align-DETR on DINO, R50, 4 scales, 24 epochs (MS-DETR, table 4; the authors' repository)."""

from querydet.config import get_config

from .align_detr_r50_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_24ep

train.max_epochs = 24
train.output_dir = "output/align_detr_r50_24ep"
