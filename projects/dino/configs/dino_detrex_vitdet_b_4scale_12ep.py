"""DINO, ViTDet-B from a masked autoencoder, 4 maps, 12 epochs, with detrex's settings: no layer-wise decay."""

from querydet.config import use_backbone

from .dino_detrex_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

use_backbone("vit_b", model, optimizer, train)
train.output_dir = "output/dino_detrex_vitdet_b_4scale_12ep"
