"""DINO, R50, 4 scales, 12 epochs, with detrex's settings and the optimizer of Deformable DETR ("hacked trainer")."""

from .dino_detrex_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

optimizer.lr = 2e-4
optimizer.lr_factors = {"backbone": 0.1, "sampling_offsets": 0.1}
optimizer.norm_weight_decay = None
train.output_dir = "output/dino_detrex_r50_4scale_sampling_lr_12ep"
