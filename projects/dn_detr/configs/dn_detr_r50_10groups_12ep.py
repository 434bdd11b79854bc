"""DN-DETR on DAB-Deformable-DETR, R50, 12 epochs, with the 10 groups of the paper's deformable models (section 5.1)."""

from .dn_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.denoising.groups.num_groups = 10
train.output_dir = "output/dn_detr_r50_10groups_12ep"
