"""DINO, ConvNeXt-T of ImageNet-1k, 4 scales, 12 epochs, with detrex's settings.

There are no published weights of 384 pixels of it; these are of 224.
"""

from querydet.config import use_backbone

from .dino_detrex_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

use_backbone("convnext_t", model, optimizer, train)
train.output_dir = "output/dino_detrex_convnext_t_4scale_12ep"
