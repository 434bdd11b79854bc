"""DN-DETR, a deformable encoder and standard attention in the decoder, 3 patterns, R50, 12 epochs (DINO, table 1)."""

from querydet.config import get_config

from .dn_deformable_encoder_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep

train.max_epochs = 12
train.output_dir = "output/dn_deformable_encoder_r50_12ep"
