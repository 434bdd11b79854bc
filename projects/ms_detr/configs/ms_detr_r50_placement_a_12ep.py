"""MS-DETR, table 5, placement (a): read after the layer, by class heads of its own (released as impl_a)."""

from .ms_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.decoder.layer.order = ["self_attention", "cross_attention", "ffn"]
model.decoder.layer.one_to_many.after = "ffn"
model.decoder.layer.one_to_many.ffn = None
model.heads.separate_one_to_many = ["class"]
train.output_dir = "output/ms_detr_r50_placement_a_12ep"
