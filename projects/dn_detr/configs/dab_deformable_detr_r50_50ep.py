"""DAB-Deformable-DETR, R50, 50 epochs: what denoising is added to."""

from querydet.config import get_config

from .dn_detr_r50_50ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/dab_deformable_detr.py").model

train.output_dir = "output/dab_deformable_detr_r50_50ep"
