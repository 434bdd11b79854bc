"""DETR-DC5 with DETA's second-stage assignment and suppression, R50, 12 epochs."""

from querydet.config import get_config

from .deta_detr_r50_dc5_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep

train.max_epochs = 12
train.output_dir = "output/deta_detr_r50_dc5_12ep"
