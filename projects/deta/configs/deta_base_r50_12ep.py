"""Two-stage Deformable DETR in the setting of DETA's ablations, R50, 12 epochs (tables 1 and 5 to 8)."""

from querydet.config import get_config

from .deta_r50_300q_4scale_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/deformable_detr.py").model
train.output_dir = "output/deta_base_r50_12ep"
