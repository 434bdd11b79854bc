"""DINO without denoising (table 7)."""

from .dino_ablation_row5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.denoising = None
del model.criterion.rules.denoising
train.output_dir = "output/dino_no_dn_12ep"
