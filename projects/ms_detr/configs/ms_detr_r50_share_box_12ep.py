"""MS-DETR, table 6: both read-outs share the box heads alone."""

from .ms_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.heads.separate_one_to_many = ["class"]
train.output_dir = "output/ms_detr_r50_share_box_12ep"
