"""DINO, table 6: 6 encoder and 4 decoder layers, with 100 denoising queries of DN-DETR's kind."""

from .dino_ablation_row5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.decoder.num_layers = 4
train.output_dir = "output/dino_dn100_6enc_4dec_12ep"
