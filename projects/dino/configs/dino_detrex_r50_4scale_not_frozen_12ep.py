"""DINO, R50, 4 scales, 12 epochs, with detrex's settings and the optimizer of Deformable DETR; nothing is frozen."""

from .dino_detrex_r50_4scale_sampling_lr_12ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone.freeze_at = 0
train.output_dir = "output/dino_detrex_r50_4scale_not_frozen_12ep"
