"""MS-DETR with DAC-DETR, R50, 300 queries, 12 epochs (arXiv 2401.03989, table 2)."""

from querydet.config import get_config

from .ms_detr_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/ms_dac_detr.py").model

train.output_dir = "output/ms_dac_detr_r50_12ep"
