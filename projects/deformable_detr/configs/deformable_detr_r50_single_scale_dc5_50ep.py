"""Plain Deformable DETR on one level of stride 16, R50-DC5, 50 epochs."""

from querydet.config import get_config

from .deformable_detr_r50_50ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone = get_config("common/backbones/resnet_dc5.py").backbone
model.neck.in_channels = {"res5": 2048}
model.neck.num_levels = 1
train.output_dir = "output/deformable_detr_r50_single_scale_dc5_50ep"
