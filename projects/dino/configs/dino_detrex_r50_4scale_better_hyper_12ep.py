"""DINO, R50, 4 scales, 12 epochs: nothing frozen, 300 denoising pairs, class weight 2 (detrex)."""

from .dino_detrex_r50_4scale_not_frozen_12ep import dataloader, lr_multiplier, model, optimizer, train

model.denoising.groups.num_queries = 300
for _rule in ("decoder", "encoder"):
    model.criterion.rules[_rule].losses["class"].weight = 2.0
train.output_dir = "output/dino_detrex_r50_4scale_better_hyper_12ep"
