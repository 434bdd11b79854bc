"""DINO with DN-DETR's denoising of 50 queries instead of the contrastive one (table 7)."""

from .dino_ablation_row5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.denoising.groups.num_queries = 50
train.output_dir = "output/dino_dn50_12ep"
