"""DINO, table 6: 4 encoder and 6 decoder layers, with 100 denoising queries of DN-DETR's kind."""

from .dino_ablation_row5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.encoder.num_layers = 4
train.output_dir = "output/dino_dn100_4enc_6dec_12ep"
