"""DN-DETR on DAB-Deformable-DETR, R50, 12 epochs, about 100 denoising queries for each image, however crowded."""

from .dn_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.denoising.num_groups = None
model.denoising.num_queries = 100
train.output_dir = "output/dn_detr_r50_dynamic_12ep"
