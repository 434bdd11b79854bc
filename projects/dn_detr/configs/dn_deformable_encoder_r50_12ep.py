"""DN-DETR with a deformable encoder and a decoder with standard attention, three patterns, R50, 12 epochs (43.4 AP)."""

from querydet.config import get_config

from .dn_deformable_encoder_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep

train.max_epochs = 12
train.output_dir = "output/dn_deformable_encoder_r50_12ep"
