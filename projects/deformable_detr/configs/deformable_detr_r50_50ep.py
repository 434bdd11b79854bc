"""Plain Deformable DETR: neither box refinement nor a second stage, R50, 50 epochs."""

from .deformable_detr_r50_refine_50ep import dataloader, lr_multiplier, model, optimizer, train

model.decoder.refine_boxes = False
model.heads.share_layers = True
train.output_dir = "output/deformable_detr_r50_50ep"
