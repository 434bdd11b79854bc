"""DETA, table 5: Deformable DETR with 6 encoder layers and 1 decoder layer; R50, 12 epochs."""

from .deta_base_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.decoder.num_layers = 1
train.output_dir = "output/deta_base_6enc_1dec_12ep"
