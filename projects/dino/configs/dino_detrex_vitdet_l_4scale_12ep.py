"""DINO, ViTDet-L from a masked autoencoder, 4 maps, 12 epochs, with detrex's settings.

Training was not stable without the warm-up of 250 iterations, 7500 of which detrex counts for an epoch. The drop is
after 80 %, and layers do not learn at different rates.
"""

from querydet.config import use_backbone

from .dino_detrex_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

use_backbone("vit_l", model, optimizer, train)
lr_multiplier.milestones = [0.8 * 12]
lr_multiplier.warmup_epochs = 250 / 7500
train.output_dir = "output/dino_detrex_vitdet_l_4scale_12ep"
