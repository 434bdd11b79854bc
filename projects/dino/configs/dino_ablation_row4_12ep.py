"""DINO, table 4, row 4: mixed query selection with DN-DETR's denoising, without looking forward twice."""

from .dino_ablation_row5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.decoder.look_forward_twice = False
train.output_dir = "output/dino_ablation_row4_12ep"
