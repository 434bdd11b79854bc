"""DINO, Swin-L of 384 pixels, ImageNet-22k and -1k, 5 scales, 12 epochs, with detrex's settings."""

from .dino_detrex_swin_l_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone.out_indices = [0, 1, 2, 3]
model.neck.in_channels = {"p0": 192, "p1": 384, "p2": 768, "p3": 1536}
model.neck.num_levels = 5
train.output_dir = "output/dino_detrex_swin_l_5scale_12ep"
