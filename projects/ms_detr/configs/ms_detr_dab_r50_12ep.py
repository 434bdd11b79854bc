"""MS-DETR on DAB-Deformable-DETR, R50, 300 queries, 12 epochs (table 1)."""

from querydet.config import get_config

from .ms_detr_r50_12ep import dataloader, lr_multiplier, train

model = get_config("common/models/ms_detr_dab.py").model
optimizer = get_config("common/optim.py").optimizer

train.output_dir = "output/ms_detr_dab_r50_12ep"
