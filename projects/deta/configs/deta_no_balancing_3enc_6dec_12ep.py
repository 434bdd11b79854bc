"""DETA, table 5: DETA without object balancing with 3 encoder layers and 6 decoder layers; R50, 12 epochs."""

from .deta_r50_no_balancing_12ep import dataloader, lr_multiplier, model, optimizer, train

model.encoder.num_layers = 3
train.output_dir = "output/deta_no_balancing_3enc_6dec_12ep"
