"""DETA, R50, 24 epochs (table 3)."""

from .deta_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

lr_multiplier.milestones = [20]
train.max_epochs = 24
train.output_dir = "output/deta_r50_24ep"
