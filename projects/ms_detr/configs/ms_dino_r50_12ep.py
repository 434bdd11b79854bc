"""MS-DETR with DINO's denoising, R50, 900 queries, 12 epochs (arXiv 2401.03989, table 2)."""

from querydet.config import get_config

from .ms_detr_pp_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/ms_dino.py").model

train.output_dir = "output/ms_dino_r50_12ep"
