"""DINO, FocalNet-L with 4 focal levels, 5 scales, 12 epochs, with detrex's settings."""

from querydet.config import use_backbone

from .dino_detrex_r50_5scale_12ep import dataloader, lr_multiplier, model, optimizer, train

use_backbone("focalnet_l_fl4", model, optimizer, train)
train.output_dir = "output/dino_detrex_focalnet_l_fl4_5scale_12ep"
