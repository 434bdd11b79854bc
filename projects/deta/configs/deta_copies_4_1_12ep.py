"""DETA, table 6: 4 and 1 copies of each object in the first and second stage; R50, 12 epochs."""

from .deta_base_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.criterion.rules.encoder.assigner.copies = 4
model.criterion.rules.decoder.assigner.copies = 1
train.output_dir = "output/deta_copies_4_1_12ep"
