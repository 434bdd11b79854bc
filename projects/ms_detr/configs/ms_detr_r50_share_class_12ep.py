"""MS-DETR, table 6: both read-outs share the class heads alone."""

from .ms_detr_r50_12ep import dataloader, lr_multiplier, model, optimizer, train

model.heads.separate_one_to_many = ["box"]
train.output_dir = "output/ms_detr_r50_share_class_12ep"
