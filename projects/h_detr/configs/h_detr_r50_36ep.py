"""H-DETR on Deformable DETR++, R50, 300 + 1500 queries, 36 epochs."""

from querydet.config import get_config

from .h_detr_r50_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_36ep

train.max_epochs = 36
train.output_dir = "output/h_detr_r50_36ep"
