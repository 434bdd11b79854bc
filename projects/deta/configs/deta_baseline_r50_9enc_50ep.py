"""DETA's improved baseline with nine encoder layers, R50, 50 epochs (table 3)."""

from .deta_baseline_r50_50ep import dataloader, lr_multiplier, model, optimizer, train

model.encoder.num_layers = 9
train.output_dir = "output/deta_baseline_r50_9enc_50ep"
