"""Align-DETR on DINO, R50, 4 scales, 12 epochs (MS-DETR, table 4; the authors' repository)."""

from querydet.config import get_config

from ...dino.configs.dino_r50_4scale_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/align_detr.py").model

optimizer.norm_weight_decay = 0.0
train.output_dir = "output/align_detr_r50_12ep"
