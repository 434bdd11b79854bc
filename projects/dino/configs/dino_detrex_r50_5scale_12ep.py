"""DINO, R50, 5 scales, 12 epochs, with detrex's settings."""

from .dino_detrex_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

model.backbone.out_features = ["res2", "res3", "res4", "res5"]
model.neck.in_channels = {"res2": 256, "res3": 512, "res4": 1024, "res5": 2048}
model.neck.num_levels = 5
train.output_dir = "output/dino_detrex_r50_5scale_12ep"
