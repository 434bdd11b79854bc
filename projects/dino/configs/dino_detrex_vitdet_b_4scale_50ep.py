"""DINO, ViTDet-B from a masked autoencoder, 4 maps, 50 epochs, with detrex's settings."""

from querydet.config import get_config

from .dino_detrex_vitdet_b_4scale_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_50ep

train.max_epochs = 50
train.output_dir = "output/dino_detrex_vitdet_b_4scale_50ep"
