"""DINO, R50, 4 scales, 12 epochs, with the settings of detrex, which all of its rows by backbone share."""

from querydet.config import get_config

from .dino_r50_4scale_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/dino_detrex.py").model

optimizer.norm_weight_decay = 0.0
train.output_dir = "output/dino_detrex_r50_4scale_12ep"
