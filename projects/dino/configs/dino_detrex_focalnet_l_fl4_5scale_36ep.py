"""DINO, FocalNet-L with 4 focal levels, 5 scales, 36 epochs, with detrex's settings: more drop path."""

from querydet.config import get_config

from .dino_detrex_focalnet_l_fl4_5scale_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_36ep

train.max_epochs = 36
model.backbone.options.drop_path_rate = 0.4
train.output_dir = "output/dino_detrex_focalnet_l_fl4_5scale_36ep"
