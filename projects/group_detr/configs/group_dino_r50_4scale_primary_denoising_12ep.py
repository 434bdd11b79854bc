"""Group DETR on DINO with denoising queries in the primary group alone, R50, 4 scales, 12 epochs."""

from querydet.config import get_config

from .group_dino_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

model.denoising = get_config("common/models/dino.py").model.denoising

train.output_dir = "output/group_dino_r50_4scale_primary_denoising_12ep"
