"""DAC-DETR with denoising and the focal loss, R50, 900 queries, 24 epochs (the authors' repository)."""

from querydet.config import get_config

from .dac_detr_cdn_r50_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_24ep

train.max_epochs = 24
train.output_dir = "output/dac_detr_cdn_r50_24ep"
