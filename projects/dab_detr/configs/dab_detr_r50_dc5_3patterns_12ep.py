"""DAB-DETR, R50-DC5, three contents for each box, 12 epochs (DINO, table 1)."""

from .dab_detr_r50_dc5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.num_patterns = 3
train.output_dir = "output/dab_detr_r50_dc5_3patterns_12ep"
