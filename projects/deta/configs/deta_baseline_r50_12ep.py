"""DETA's improved baseline, R50, 12 epochs: the schedule of DETA, one-to-one matching in both stages."""

from .deta_baseline_r50_50ep import dataloader, lr_multiplier, model, optimizer, train

lr_multiplier.milestones = [10]
train.max_epochs = 12
train.output_dir = "output/deta_baseline_r50_12ep"
