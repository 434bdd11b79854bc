"""Group DETR on Conditional DETR, 11 groups, R50-DC5, 50 epochs (arXiv 2207.13085)."""

from querydet.config import get_config

from .group_conditional_detr_r50_50ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone = get_config("common/backbones/resnet_dc5.py").backbone

train.output_dir = "output/group_conditional_detr_r50_dc5_50ep"
