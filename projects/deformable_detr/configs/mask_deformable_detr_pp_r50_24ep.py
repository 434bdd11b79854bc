"""Deformable DETR++ with masks, R50, 300 queries, 24 epochs: the baseline of Mr. DETR (arXiv 2412.10028)."""

from querydet.config import get_config

from .mask_deformable_detr_pp_r50_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_24ep

train.max_epochs = 24
train.output_dir = "output/mask_deformable_detr_pp_r50_24ep"
