"""DN-DETR with dense attention, three contents for each box, R50-DC5, 12 epochs (the authors' repository)."""

from .dn_dab_detr_r50_dc5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.num_patterns = 3
model.selection.shared_content = True
train.output_dir = "output/dn_dab_detr_r50_dc5_3patterns_12ep"
