"""Two-stage Deformable DETR as MS-DETR's baseline: feed-forward blocks of width 2048 (MS-DETR, tables 1 and 5)."""

from .deformable_detr_r50_two_stage_12ep import dataloader, lr_multiplier, model, optimizer, train

for _layer in (model.encoder.layer, model.decoder.layer):
    _layer.ffn_dim = 2048
train.output_dir = "output/deformable_detr_r50_two_stage_ffn2048_12ep"
