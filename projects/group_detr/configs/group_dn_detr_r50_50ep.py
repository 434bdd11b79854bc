"""Group DETR with DN-DETR on DAB-Deformable-DETR, R50, 11 groups, 50 epochs; the paper has it on a dense base alone."""

from querydet.config import get_config

from .group_dab_deformable_detr_r50_50ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/group_dn_detr.py").model

train.output_dir = "output/group_dn_detr_r50_50ep"
