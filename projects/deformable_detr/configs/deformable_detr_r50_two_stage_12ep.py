"""Two-stage Deformable DETR with box refinement, R50, 12 epochs (DINO, table 1, does not say which variant)."""

from querydet.config import get_config

from .deformable_detr_r50_two_stage_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep

dataloader.train.total_batch_size = 16
train.max_epochs = 12
train.output_dir = "output/deformable_detr_r50_two_stage_12ep"
