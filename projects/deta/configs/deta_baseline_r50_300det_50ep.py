"""DETA's improved baseline with 300 detections, R50, 50 epochs (table 3)."""

from .deta_baseline_r50_50ep import dataloader, lr_multiplier, model, optimizer, train

model.postprocess.num_detections = 300
train.output_dir = "output/deta_baseline_r50_300det_50ep"
