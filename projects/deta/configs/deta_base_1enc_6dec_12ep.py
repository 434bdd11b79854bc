"""DETA, table 5: Deformable DETR with 1 encoder layer and 6 decoder layers; R50, 12 epochs."""

from .deta_base_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.encoder.num_layers = 1
train.output_dir = "output/deta_base_1enc_6dec_12ep"
