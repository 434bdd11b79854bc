"""H-DETR, Swin-L with windows of 7, 300 + 1500 queries, 36 epochs."""

from querydet.config import get_config

from .h_detr_swin_l_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").lr_multiplier_36ep

model.backbone.drop_path_rate = 0.5
train.max_epochs = 36
train.output_dir = "output/h_detr_swin_l_36ep"
