"""DAC-DETR's second stream alone on two-stage Deformable DETR, R50, 12 epochs (MS-DETR, table 2)."""

from querydet.config import get_config

from ...ms_detr.configs.ms_detr_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/dac_detr_plain.py").model

train.output_dir = "output/dac_detr_r50_12ep"
