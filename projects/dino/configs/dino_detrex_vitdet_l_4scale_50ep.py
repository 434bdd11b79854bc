"""DINO, ViTDet-L from a masked autoencoder, 4 maps, 50 epochs, with detrex's settings."""

from .dino_detrex_vitdet_l_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

lr_multiplier.milestones = [0.8 * 50]
train.max_epochs = 50
train.output_dir = "output/dino_detrex_vitdet_l_4scale_50ep"
