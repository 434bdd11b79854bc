"""MS-DETR on Mask-Deformable-DETR, R50, 300 queries, 50 epochs (arXiv 2401.03989, table 7)."""

from querydet.config import get_config

from .ms_mask_deformable_detr_r50_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_50ep

train.max_epochs = 50
train.output_dir = "output/ms_mask_deformable_detr_r50_50ep"
