"""MS-DETR on Deformable DETR++, R50, 900 queries, 12 epochs (table 1)."""

from .ms_detr_pp_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.num_queries = 900
model.postprocess.num_detections = 300
train.output_dir = "output/ms_detr_pp_r50_900q_12ep"
