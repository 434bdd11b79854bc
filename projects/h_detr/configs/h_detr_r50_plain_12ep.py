"""H-DETR on two-stage Deformable DETR without the additions of its ++ variant, R50 (MS-DETR, table 1)."""

from .h_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.selection.selection.content = None
model.selection.extra_content = None
model.decoder.look_forward_twice = False
for _layer in (model.encoder.layer, model.decoder.layer):
    _layer.dropout = 0.1
train.output_dir = "output/h_detr_r50_plain_12ep"
