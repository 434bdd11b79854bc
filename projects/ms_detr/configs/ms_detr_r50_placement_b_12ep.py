"""MS-DETR, table 5, placement (b): cross-attention first, read after the whole layer."""

from .ms_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.decoder.layer.one_to_many.after = "ffn"
model.decoder.layer.one_to_many.ffn = None
model.heads.separate_one_to_many = ["class"]
train.output_dir = "output/ms_detr_r50_placement_b_12ep"
