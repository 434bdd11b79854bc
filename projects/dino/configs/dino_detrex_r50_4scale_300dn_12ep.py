"""DINO, R50, 4 scales, 12 epochs, with detrex's settings and 300 denoising pairs."""

from .dino_detrex_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

model.denoising.groups.num_queries = 300
train.output_dir = "output/dino_detrex_r50_4scale_300dn_12ep"
