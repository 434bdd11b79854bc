"""DINO, R101, 4 scales, 12 epochs, with detrex's settings."""

from querydet.config import use_backbone

from .dino_detrex_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

use_backbone("resnet101", model, optimizer, train)
model.backbone.freeze_at = 1
train.output_dir = "output/dino_detrex_r101_4scale_12ep"
