"""DINO, table 6: 2 encoder and 4 decoder layers, with 100 denoising queries of DN-DETR's kind."""

from .dino_ablation_row5_12ep import dataloader, lr_multiplier, model, optimizer, train

model.encoder.num_layers = 2
model.decoder.num_layers = 4
train.output_dir = "output/dino_dn100_2enc_4dec_12ep"
