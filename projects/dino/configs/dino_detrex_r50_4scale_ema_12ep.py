"""DINO, R50, 4 scales, 12 epochs, with detrex's settings; a moving average of the weights is evaluated."""

from .dino_detrex_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

train.ema.enabled = True
train.ema.decay = 0.999
train.output_dir = "output/dino_detrex_r50_4scale_ema_12ep"
