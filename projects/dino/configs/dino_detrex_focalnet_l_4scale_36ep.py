"""DINO, FocalNet-L with 3 focal levels, 4 scales, 36 epochs, with detrex's settings."""

from querydet.config import get_config

from .dino_detrex_focalnet_l_4scale_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_36ep

train.max_epochs = 36
train.output_dir = "output/dino_detrex_focalnet_l_4scale_36ep"
