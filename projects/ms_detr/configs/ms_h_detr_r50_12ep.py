"""MS-DETR with H-DETR, R50, 300 + 1500 queries, 12 epochs (arXiv 2401.03989, table 2)."""

from querydet.config import get_config

from .ms_detr_pp_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/ms_h_detr.py").model

train.output_dir = "output/ms_h_detr_r50_12ep"
