"""DINO with DN-DETR's denoising of 1000 queries instead of the contrastive one (table 7)."""

from .dino_ablation_row5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.denoising.groups.num_queries = 1000
train.output_dir = "output/dino_dn1000_12ep"
