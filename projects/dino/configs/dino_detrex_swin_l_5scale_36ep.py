"""DINO, Swin-L of 384 pixels, ImageNet-22k and -1k, 5 scales, 36 epochs, with detrex's settings."""

from querydet.config import get_config

from .dino_detrex_swin_l_5scale_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_36ep

train.max_epochs = 36
train.output_dir = "output/dino_detrex_swin_l_5scale_36ep"
