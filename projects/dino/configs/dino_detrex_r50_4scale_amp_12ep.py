"""DINO, R50, 4 scales, 12 epochs, with detrex's settings and 16-bit arithmetic (here bfloat16)."""

from .dino_detrex_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

train.amp.enabled = True
train.output_dir = "output/dino_detrex_r50_4scale_amp_12ep"
