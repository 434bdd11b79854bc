"""MS-DETR on Deformable DETR++, R50, 300 queries, 12 epochs (table 1)."""

from querydet.config import get_config

from .ms_detr_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/ms_detr.py").model

train.output_dir = "output/ms_detr_pp_r50_12ep"
