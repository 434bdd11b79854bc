"""Group DETR on DN-DETR with dense attention, 11 groups, R50, 12 epochs (arXiv 2207.13085)."""

from querydet.config import get_config

from .group_dn_dab_detr_r50_50ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_12ep

train.max_epochs = 12
train.output_dir = "output/group_dn_dab_detr_r50_12ep"
