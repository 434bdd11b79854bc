"""Deformable DETR++, R50, 900 queries, 24 epochs (MS-DETR, table 1)."""

from querydet.config import get_config

from .deformable_detr_pp_r50_900q_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_24ep

train.max_epochs = 24
train.output_dir = "output/deformable_detr_pp_r50_900q_24ep"
