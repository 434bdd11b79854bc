"""DETA, R50, 12 epochs: assignment by overlap in both stages (table 1)."""

from querydet.config import get_config

from .deta_baseline_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/deta.py").model

train.output_dir = "output/deta_r50_12ep"
