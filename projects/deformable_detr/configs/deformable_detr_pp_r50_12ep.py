"""Deformable DETR++, R50, 300 queries, 12 epochs (H-DETR, arXiv 2207.13080)."""

from querydet.config import get_config

from .deformable_detr_r50_two_stage_50ep import dataloader, optimizer, train

model = get_config("common/models/deformable_detr_pp.py").model
lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep

dataloader.train.total_batch_size = 16
train.max_epochs = 12
train.output_dir = "output/deformable_detr_pp_r50_12ep"
