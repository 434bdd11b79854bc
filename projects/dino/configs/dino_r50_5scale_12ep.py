"""DINO, R50, 5 scales, 12 epochs (arXiv 2203.03605, table 1)."""

from querydet.config import get_config

from .dino_r50_4scale_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/dino_5scale.py").model

train.output_dir = "output/dino_r50_5scale_12ep"
