"""MS-DETR with DN-DETR on DAB-Deformable-DETR, R50, 12 epochs; table 2 of the paper has it on the dense DN-DETR."""

from querydet.config import get_config

from .ms_detr_dab_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/ms_dn_detr.py").model

train.output_dir = "output/ms_dn_detr_r50_12ep"
