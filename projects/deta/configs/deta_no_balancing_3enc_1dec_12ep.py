"""DETA, table 5: DETA without object balancing with 3 encoder layers and 1 decoder layer; R50, 12 epochs."""

from .deta_r50_no_balancing_12ep import dataloader, lr_multiplier, model, optimizer, train

model.encoder.num_layers = 3
model.decoder.num_layers = 1
train.output_dir = "output/deta_no_balancing_3enc_1dec_12ep"
