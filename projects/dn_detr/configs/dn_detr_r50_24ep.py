"""DN-DETR on DAB-Deformable-DETR, R50, 5 groups, 24 epochs (the authors' repository)."""

from querydet.config import get_config

from .dn_detr_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_24ep

train.max_epochs = 24
train.output_dir = "output/dn_detr_r50_24ep"
