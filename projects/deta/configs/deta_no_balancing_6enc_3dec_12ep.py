"""DETA, table 5: DETA without object balancing with 6 encoder layers and 3 decoder layers; R50, 12 epochs."""

from .deta_r50_no_balancing_12ep import dataloader, lr_multiplier, model, optimizer, train

model.decoder.num_layers = 3
train.output_dir = "output/deta_no_balancing_6enc_3dec_12ep"
