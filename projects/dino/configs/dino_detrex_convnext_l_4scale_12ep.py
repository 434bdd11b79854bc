"""DINO, ConvNeXt-L of ImageNet-1k, 4 scales, 12 epochs, with detrex's settings."""

from querydet.config import use_backbone

from .dino_detrex_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

use_backbone("convnext_l", model, optimizer, train)
train.output_dir = "output/dino_detrex_convnext_l_4scale_12ep"
