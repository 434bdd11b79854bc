"""MS-DETR, table 5, placement (d): self-attention first, read right after it."""

from .ms_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.decoder.layer.order = ["self_attention", "cross_attention", "ffn"]
model.decoder.layer.one_to_many.after = "self_attention"
train.output_dir = "output/ms_detr_r50_placement_d_12ep"
