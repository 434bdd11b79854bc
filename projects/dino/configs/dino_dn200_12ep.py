"""DINO with DN-DETR's denoising of 200 queries instead of the contrastive one (table 7)."""

from .dino_ablation_row5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.denoising.groups.num_queries = 200
train.output_dir = "output/dino_dn200_12ep"
