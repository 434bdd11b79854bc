"""DETA with nine encoder layers and 300 detections, R50, 12 epochs (table 3)."""

from .deta_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.encoder.num_layers = 9
model.postprocess.num_detections = 300
train.output_dir = "output/deta_r50_9enc_12ep"
