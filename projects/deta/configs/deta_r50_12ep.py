"""DETA, R50, 12 epochs: assignment by overlap in both stages (the authors report 50.1 AP)."""

from querydet.config import get_config

from .deta_baseline_r50_12ep import dataloader, lr_multiplier, optimizer, train

model = get_config("common/models/deta.py").model

train.output_dir = "output/deta_r50_12ep"
