"""DAC-DETR as released, R50, 900 queries, 12 epochs (the authors' repository)."""

from querydet.config import get_config

from ...ms_detr.configs.ms_detr_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/dac_detr.py").model

train.output_dir = "output/dac_detr_cdn_ice_r50_12ep"
