"""Deformable DETR++ with masks, R50, 300 queries, 12 epochs: the baseline of Mr. DETR (arXiv 2412.10028)."""

from querydet.config import get_config

from .mask_deformable_detr_r50_12ep import dataloader, lr_multiplier, train

model = get_config("common/models/mask_deformable_detr_pp.py").model
optimizer = get_config("common/optim.py").optimizer

train.output_dir = "output/mask_deformable_detr_pp_r50_12ep"
