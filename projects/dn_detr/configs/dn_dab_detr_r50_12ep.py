"""DN-DETR with dense attention, 5 denoising groups, R50, 12 epochs."""

from querydet.config import get_config

from .dn_dab_detr_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep

train.max_epochs = 12
train.output_dir = "output/dn_dab_detr_r50_12ep"
